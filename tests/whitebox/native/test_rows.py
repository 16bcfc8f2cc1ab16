"""Norms, gates and rotations of the kernels beside their formulas in float64."""

import pytest
import torch
from torch.nn.functional import rms_norm, silu

from tests.whitebox.native.conftest import Draw, close
from worker.whitebox.native import rows

SHAPES = [(1, 16), (5, 48), (70, 384)]
EPSILON = 1e-5


@pytest.mark.parametrize("shape", SHAPES)
def test_a_norm_and_its_way_back(draw: Draw, shape: tuple[int, int]) -> None:
    x, weight, slope, more = draw(*shape), draw(shape[1]), draw(*shape), draw(*shape)
    exact = x.double().requires_grad_()
    wanted = rms_norm(exact, (shape[1],), weight.double(), EPSILON)
    (of_x,) = torch.autograd.grad(wanted, exact, slope.double())
    y, inverse = rows.norm(x, weight, EPSILON)
    assert close(y, wanted)
    assert torch.equal(rows.norm_alone(x, weight, EPSILON), y)
    assert close(rows.norm_back(slope, weight, x, inverse, more), more + of_x)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_gate_and_its_way_back(draw: Draw, shape: tuple[int, int]) -> None:
    wide, slope = 3 * draw(shape[0], 2 * shape[1]), draw(*shape)
    exact = wide.double().requires_grad_()
    gate, up = exact.chunk(2, -1)
    wanted = silu(gate) * up
    (of_wide,) = torch.autograd.grad(wanted, exact, slope.double())
    assert close(rows.gate(wide), wanted)
    assert close(rows.gate_back(slope, wide), of_wide)


def test_a_gate_far_open_or_shut_passes_all_or_nothing() -> None:
    wide = torch.zeros(1, 32)
    wide[0, :3] = torch.tensor([200.0, -200.0, float("nan")])
    wide[0, 16:] = 1
    gated = rows.gate(wide)[0]
    assert gated[:2].tolist() == [200, 0]
    assert gated[2].isnan()  # or a loss that is no number would go unseen
    assert not gated[3:].any()


@pytest.mark.parametrize("period", [3, 6])
def test_heads_turn_by_their_rows_angles_and_back(draw: Draw, period: int) -> None:
    wide, angles = draw(6, 3 * 64), draw(period, 32)
    turned = wide.clone()
    rows.turn(turned, 2, angles.cos(), angles.sin(), 1)
    every = angles.repeat(6 // period, 1)[:, None]
    first, second = wide.view(6, 3, 2, 32)[:, :2].unbind(2)
    wanted = torch.stack(
        [first * every.cos() - second * every.sin(), second * every.cos() + first * every.sin()], 2
    )
    assert close(turned[:, :128], wanted.flatten(1))
    assert torch.equal(turned[:, 128:], wide[:, 128:])
    rows.turn(turned, 2, angles.cos(), angles.sin(), -1)
    assert close(turned, wide)
