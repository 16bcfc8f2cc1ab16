"""The product of a frozen weight with its low-rank adapter, in as few operations as it needs.

Adapters, their start and their files are peft's; its forward takes nine operations where three
matrix products do, a third of a decoding step's time on a CPU. For sampling there may be a second
copy of the adapted weights with the adapters added in, so that a step takes one product.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from peft.tuners.lora import Linear
from torch import Tensor


@dataclass
class Sums:
    """Adapted weights with their adapters added in; used by the layers while `on`."""

    layers: list[Any]
    weights: list[Tensor] = field(default_factory=list)
    on: bool = False

    @torch.no_grad()
    def renew(self) -> None:
        """Add the adapters as they are now."""
        for layer, into in zip(self.layers, self._weights(), strict=True):
            [name] = layer.active_adapters
            a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
            torch.addmm(layer.get_base_layer().weight, b, a, alpha=layer.scaling[name], out=into)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the layers compute with the sums of the last renewal."""
        self.on = bool(self.weights)
        try:
            yield
        finally:
            self.on = False

    def _weights(self) -> list[Tensor]:
        if not self.weights:
            self.weights = [
                torch.empty_like(layer.get_base_layer().weight) for layer in self.layers
            ]
        return self.weights


_SUMS: "WeakKeyDictionary[Any, Sums]" = WeakKeyDictionary()


def use_lean_products(model: Any, *, sums: bool = True) -> None:
    """Let every plain adapter of a peft model compute y = x W' + b + s (x A') B' by ours.

    With `sums`, sampling adds the adapters into a copy of the weights; not in bfloat16, whose eight
    bits would swallow a small adapter.
    """
    layers = [layer for layer in model.modules() if type(layer) is Linear and _is_plain(layer)]
    exact = all(layer.get_base_layer().weight.dtype == torch.float32 for layer in layers)
    kept = Sums(layers if sums and exact else [])
    _SUMS[model.get_base_model()] = kept
    for place, layer in enumerate(layers):
        layer.forward = partial(_forward, layer, kept, place)


def sums_of(base: Any) -> Sums:
    """The sums of a model's weights and adapters; empty ones where there are none."""
    return _SUMS.get(base) or Sums([])


def _is_plain(layer: Any) -> bool:
    [name] = layer.active_adapters
    weights = (layer.get_base_layer(), layer.lora_A[name], layer.lora_B[name])
    return (
        type(weights[0]) is torch.nn.Linear
        and not layer.use_dora.get(name)
        and isinstance(layer.lora_dropout[name], torch.nn.Identity)
        and weights[2].bias is None
    )


def _forward(layer: Any, sums: Sums, place: int, x: Tensor) -> Tensor:
    base = layer.get_base_layer()
    if sums.on:
        return torch.nn.functional.linear(x, sums.weights[place], base.bias)
    [name] = layer.active_adapters
    weights = (base.weight, base.bias, layer.lora_A[name].weight, layer.lora_B[name].weight)
    if torch.is_grad_enabled():
        out: Tensor = _LowRank.apply(  # type: ignore[no-untyped-call]  # torch leaves it untyped
            x, *weights, layer.scaling[name]
        )
        return out
    return _product(x.reshape(-1, x.shape[-1]), *weights, layer.scaling[name])[0].view(
        *x.shape[:-1], -1
    )


def _product(
    x_TD: Tensor, weight: Tensor, bias: Tensor | None, a_RD: Tensor, b_ER: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    low_TR = x_TD @ a_RD.to(x_TD.dtype).T
    y_TE = torch.nn.functional.linear(x_TD, weight, bias)
    return y_TE.addmm_(low_TR, b_ER.to(x_TD.dtype).T, alpha=scale), low_TR


class _LowRank(torch.autograd.Function):
    """The same with gradients for x, A and B; the weight and its bias are frozen."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        y, low = _product(flat, weight, bias, a, b, scale)
        ctx.save_for_backward(flat, weight, a, b, low)
        ctx.scale = scale
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        flat, weight, a, b, low = ctx.saved_tensors
        shape = slopes[0].shape
        slope = slopes[0].reshape(-1, shape[-1])
        down = (slope @ b.to(slope.dtype)).mul_(ctx.scale)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = (slope @ weight).addmm_(down, a.to(slope.dtype)).view(*shape[:-1], -1)
        da = (down.T @ flat).to(a.dtype)
        db = (slope.T @ low).mul_(ctx.scale).to(b.dtype)
        return dx, None, None, da, db, None
