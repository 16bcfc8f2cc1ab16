"""Products of the kernels, with panels and of adapters, beside float64."""

import psutil
import pytest
import torch

from tests.whitebox.native.conftest import Draw, close
from worker.whitebox.frozen import FrozenLayer
from worker.whitebox.native import adapters
from worker.whitebox.native.products import in_panels, summed


@pytest.mark.parametrize(
    "shape", [(1, 16, 32), (5, 7, 3), (13, 40, 65), (200, 64, 48), (25, 2100, 40)]
)
def test_a_product_with_panels(draw: Draw, shape: tuple[int, int, int]) -> None:
    rows, inner, outputs = shape
    x, weight, bias, more = draw(rows, inner), draw(outputs, inner), draw(outputs), None
    wanted = x.double() @ weight.double().T
    product = in_panels(weight)
    assert close(product(x, None), wanted)
    assert close(product(x, bias), wanted + bias)
    more = draw(rows, outputs)
    assert close(product(x, None, more), wanted + more)
    assert close(product(x.T.contiguous().T, None), wanted)


@pytest.mark.parametrize("packed", [False, True])
def test_a_frozen_layer_in_both_directions(draw: Draw, packed: bool) -> None:
    layer = torch.nn.Linear(24, 40).requires_grad_(requires_grad=False)
    x, slopes = draw(7, 24), draw(7, 40)
    compiled = FrozenLayer(layer, packed=packed, compiled=True)
    for _ in range(2):
        weight, bias = layer.weight.double(), layer.bias.double()
        assert close(compiled.forward(x), x.double() @ weight.T + bias)
        assert close(compiled.back(slopes), slopes.double() @ weight)
        layer.weight.mul_(-2)  # as merging adapters into it would


def test_a_sum_over_a_vocabulary_loses_no_digits(draw: Draw) -> None:
    probabilities, weight = draw(13, 40_000).softmax(-1), draw(32, 40_000) + 1
    wanted = probabilities.double() @ weight.double().T
    off = in_panels(weight)(probabilities, None).double() - wanted
    assert off.abs().max() < 1e-6 * wanted.abs().max()


def test_texts_of_all_lengths_leave_no_memory_behind(draw: Draw) -> None:
    layer = torch.nn.Linear(256, 256).requires_grad_(requires_grad=False)
    compiled, slopes = FrozenLayer(layer, packed=True, compiled=True), draw(300, 256)
    compiled.back(compiled.forward(slopes))
    before = psutil.Process().memory_info().rss
    for rows in range(1, 300):
        compiled.back(compiled.forward(slopes[:rows]))
    # torch's packed products, made anew for each number of rows, kept six times as much
    assert psutil.Process().memory_info().rss - before < 32 * 2**20


def test_what_a_row_gives_does_not_depend_on_the_rows_beside_it(draw: Draw) -> None:
    x, product = draw(130, 64), in_panels(draw(96, 64))
    together = product(x, None)
    for row in (0, 11, 12, 95, 96, 129):
        assert torch.equal(product(x[row : row + 1], None)[0], together[row])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(product(x, None), together)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(("rank", "sizes"), [(16, [64, 32, 32]), (32, [48]), (48, [96, 96])])
def test_adapters_and_their_way_back(draw: Draw, rank: int, sizes: list[int]) -> None:
    x, y, scale = draw(37, 64), draw(37, sum(sizes)), 0.5
    factors = [(draw(rank, 64), draw(size, rank)) for size in sizes]
    exact = [x.double(), *(f.double() for pair in factors for f in pair)]
    for one in exact:
        one.requires_grad_()
    parts = [exact[0] @ a.T @ b.T for a, b in zip(exact[1::2], exact[2::2], strict=True)]
    wanted, slope = scale * torch.cat(parts, 1), draw(37, sum(sizes))
    of_x, *of_factors = torch.autograd.grad(wanted, exact, slope.double())
    ours, dx = y.clone(), draw(37, 64)
    before = dx.clone()
    low = adapters.add(x, factors, scale, ours)
    da, db = adapters.back(slope, x, low, factors, scale, dx)
    assert close(ours, y + wanted)
    assert close(dx, before + of_x)
    assert close(da, torch.cat(of_factors[::2]))
    assert close(db, torch.cat(of_factors[1::2]))
    assert torch.equal(adapters.back(slope, x, low, factors, scale, None)[0], da)


@pytest.mark.parametrize(("rank", "sizes"), [(4, [64, 32, 7]), (16, [48]), (40, [96, 96])])
def test_weights_with_their_adapters_added_in(draw: Draw, rank: int, sizes: list[int]) -> None:
    x, weights = draw(5, 24), [draw(size, 24) for size in sizes]
    factors = [(draw(rank, 24), draw(size, rank)) for size in sizes]
    wanted = [
        x.double() @ (w.double() + 0.5 * b.double() @ a.double()).T
        for w, (a, b) in zip(weights, factors, strict=True)
    ]
    assert close(summed(weights, factors, 0.5)(x, None), torch.cat(wanted, 1))
