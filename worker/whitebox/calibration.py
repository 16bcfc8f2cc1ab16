"""Measures a device for the physical limit: matrix products, memory, decoding, the optimizer.

Every figure is the best of a few tries, since whatever else runs on the machine only adds time.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor
from transformers import StaticCache

from worker.whitebox.frozen import Product, product_with
from worker.whitebox.limit import Limit, Products, products, widths
from worker.whitebox.precision import Precision

Shape = tuple[int, int, int]
"""Rows, inner size and columns of a matrix product."""

DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ADAM_BYTES = 28
"""Read and written by AdamW a weight in float32: weight and two moments both ways, gradient."""
PACKED = (False, True)
"""Weights as they are, and packed."""
BUFFER_BYTES = (1 << 24, 1 << 27)
"""Least and most that is read to measure memory: a model within a cache is read from there."""


def quick_limit(
    model: Any, *, rows: int, precision: Precision = "float32", seconds: float = 0.3
) -> Limit:
    """Return the limit for decoding `rows` responses at once, after about so many seconds.

    Decoding and optimizer are estimated from peak products and memory: `decode_rate` and
    `optimizer_seconds` measure them, but take longer.
    """
    device = next(model.parameters()).device
    dtype = DTYPES[precision]
    counted = products(model)
    size = weight_bytes(counted, dtype)
    peak = peak_flops(dtype, device, seconds=seconds * 2 / 3, shapes=model_shapes(model, device))
    rate = bandwidth(size, device, seconds=seconds / 3)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Limit(
        counted,
        peak,
        decode_seconds=max(size / rate / rows, counted.forward(1, 1) / peak),
        optimizer_seconds=ADAM_BYTES * trained / rate,
    )


def weight_bytes(counted: Products, dtype: torch.dtype) -> int:
    """Bytes of the weights that a decode step reads, at two operations a weight."""
    return int((counted.body + counted.head) / 2) * dtype.itemsize


def model_shapes(model: Any, device: torch.device) -> list[Shape]:
    """Return the products of many tokens with the widest weights of the model's blocks."""
    tokens = _scaled(1024, device)
    return [(tokens, inner, outer) for inner, outer in widths(model)[:3]]


def peak_flops(
    dtype: torch.dtype, device: torch.device, *, seconds: float = 1.0, shapes: Sequence[Shape] = ()
) -> float:
    """Operations a second of the best matrix product: square ones and these shapes."""
    return max(product_rates(dtype, device, seconds=seconds, shapes=shapes).values())


def product_rates(
    dtype: torch.dtype, device: torch.device, *, seconds: float = 1.0, shapes: Sequence[Shape] = ()
) -> dict[Shape, float]:
    """Operations a second of each product, square ones and these, in so many seconds for all.

    Each is the better one of torch's own and of one with packed weights: on some CPUs the libraries
    behind them differ by more than twice.
    """
    sides = [_scaled(side, device) for side in (512, 1024)]
    every = [*((side, side, side) for side in sides), *shapes]
    share = seconds / len(every) / len(PACKED)
    return {
        shape: max(
            2.0 * prod(shape) / best_seconds(run, device, share)
            for run in (_product(shape, dtype, device, packed=packed) for packed in PACKED)
        )
        for shape in every
    }


def _scaled(cpu_size: int, device: torch.device) -> int:
    """Products that fill a GPU would take seconds on a CPU."""
    return cpu_size if device.type == "cpu" else 8 * cpu_size


def _product(
    shape: Shape, dtype: torch.dtype, device: torch.device, *, packed: bool
) -> Callable[[], object]:
    m, k, n = shape
    left, right = _noise((m, k), device).to(dtype), _noise((n, k), device).to(dtype)
    multiply = product_with(right, packed=packed)
    return lambda: multiply(left, None)


def bandwidth(size: int, device: torch.device, *, seconds: float = 0.2) -> float:
    """Bytes a second of reading about `size` bytes of weights once, by a product with a vector."""
    least, most = BUFFER_BYTES
    columns = 4096
    rows = min(max(size, least), _scaled(most, device)) // (4 * columns)
    weights, vector = torch.ones(rows, columns, device=device), torch.ones(columns, device=device)
    out = torch.empty(rows, device=device)
    spent = best_seconds(lambda: torch.mv(weights, vector, out=out), device, seconds)
    return weights.nbytes / spent


def optimizer_seconds(parameters: Iterable[Tensor], *, steps: int = 3) -> float:
    """Seconds of one AdamW step, measured on copies: four times the parameters' memory."""
    copies = [torch.nn.Parameter(p.detach().clone()) for p in parameters]
    for copy in copies:
        copy.grad = torch.full_like(copy, 1e-3)
    optimizer = torch.optim.AdamW(copies, lr=1e-9, fused=True)
    device = copies[0].device
    optimizer.step()
    return min(_timed(optimizer.step, device) for _ in range(steps))


def decode_rate(model: Any, rows: int, *, context: int, steps: int = 8) -> float:
    """Tokens a second of a static batch whose rows each attend to about `context` tokens.

    The model computes in the precision that it is held in, with torch's own products or packed
    ones, whichever are faster.
    """
    device = next(model.parameters()).device
    step = _decode_step(model, rows, max(context, steps + 1))
    tries = []
    for packed in PACKED:
        with _products_of(model, packed=packed):
            _timed(step, device)
            tries += [_timed(step, device) for _ in range(steps)]
    return rows / min(tries)


@contextmanager
def _products_of(model: Any, *, packed: bool) -> Iterator[None]:
    """Have the model's linear layers multiply so for a while."""
    layers = [layer for layer in model.modules() if type(layer) is torch.nn.Linear]
    for layer in layers:
        multiply = product_with(layer.weight, packed=packed)
        layer.forward = partial(_linear, multiply, layer.bias)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _linear(multiply: Product, bias_E: Tensor | None, x: Tensor) -> Tensor:
    flat_TD = x.reshape(-1, x.shape[-1])
    return multiply(flat_TD, bias_E).view(*x.shape[:-1], -1)


def _decode_step(model: Any, rows: int, context: int) -> Callable[[], object]:
    """A static cache is attended to at its full length, whether its slots are filled or not."""
    cache = StaticCache(config=model.config, max_cache_len=context)
    device = next(model.parameters()).device
    token_R1 = torch.zeros(rows, 1, dtype=torch.long, device=device)

    @torch.inference_mode()
    def step() -> None:
        logits_R1V = model(token_R1, cache=cache, use_cache=True).logits
        token_R1.copy_(logits_R1V[:, -1:].argmax(-1))

    return step


def best_seconds(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Return the shortest of the tries that fit in so many seconds, the first left out."""
    end = time.perf_counter() + seconds
    _timed(work, device)
    spent = [_timed(work, device), _timed(work, device)]
    while time.perf_counter() < end:
        spent.append(_timed(work, device))
    return min(spent)


def _timed(work: Callable[[], object], device: torch.device) -> float:
    _settle(device)
    start = time.perf_counter()
    work()
    _settle(device)
    return time.perf_counter() - start


def _settle(device: torch.device) -> None:
    """Wait for a device that works on its own."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _noise(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Numbers of a generator of their own: the run's draws must not depend on measuring."""
    generator = torch.Generator(device).manual_seed(0)
    return torch.randn(shape, generator=generator, device=device)
