"""The product of a frozen weight with its low-rank adapter, in as few operations as it needs.

Adapters, their start and their files are peft's; its forward takes nine operations where three
matrix products do, a third of a decoding step's time on a CPU.
"""

from types import MethodType
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor


def use_lean_products(model: Any) -> None:
    """Let every plain adapter of a peft model compute y = x W' + b + s (x A') B' by ours."""
    for layer in model.modules():
        if type(layer) is Linear and _is_plain(layer):
            layer.forward = MethodType(_forward, layer)


def _is_plain(layer: Any) -> bool:
    [name] = layer.active_adapters
    weights = (layer.get_base_layer(), layer.lora_A[name], layer.lora_B[name])
    return (
        type(weights[0]) is torch.nn.Linear
        and not layer.use_dora.get(name)
        and isinstance(layer.lora_dropout[name], torch.nn.Identity)
        and weights[2].bias is None
    )


def _forward(layer: Any, x: Tensor) -> Tensor:
    [name] = layer.active_adapters
    base = layer.get_base_layer()
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
