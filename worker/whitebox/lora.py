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

from worker.whitebox.frozen import FrozenLayer, Product, frozen, pack, product_with, unpack
from worker.whitebox.score import base_of


@dataclass
class Sums:
    """Products with adapted weights that have their adapters added in; used while `on`."""

    layers: list[Any]
    packed: bool = False
    products: dict[int, Product] = field(default_factory=dict)
    """By the layer's place."""
    on: bool = False

    @torch.no_grad()
    def renew(self) -> None:
        """Add the adapters as they are now."""
        for place, layer in enumerate(self.layers):
            self.products[place] = product_with(_sum(layer), packed=self.packed)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the layers compute with the sums of the last renewal."""
        self.on = bool(self.products)
        try:
            yield
        finally:
            self.on = False


_SUMS: "WeakKeyDictionary[Any, Sums]" = WeakKeyDictionary()


def use_lean_products(model: Any, *, sums: bool = True, packed: bool = True) -> None:
    """Let every plain adapter of a peft model compute y = x W' + b + s (x A') B' by ours.

    With `sums`, sampling adds the adapters into a copy of the weights; not in bfloat16, whose eight
    bits would swallow a small adapter. With `packed`, a CPU holds frozen weights once more for each
    direction of learning, and the sums, in the layout that it multiplies fastest.
    """
    layers = [layer for layer in model.modules() if type(layer) is Linear and _is_plain(layer)]
    exact = all(layer.get_base_layer().weight.dtype == torch.float32 for layer in layers)
    kept = Sums(layers if sums and exact else [], packed)
    _SUMS[model.get_base_model()] = kept
    for place, layer in enumerate(layers):
        layer.forward = partial(_forward, layer, kept, place)
    if packed:
        _pack(model.get_base_model(), layers)


def use_plain_products(model: Any) -> None:
    """Take that back: peft's own products, and no second copy of any weight."""
    layers = [layer for layer in model.modules() if type(layer) is Linear]
    head = base_of(model).get_output_embeddings()
    for module in (*layers, head):
        vars(module).pop("forward", None)
    unpack((*(layer.get_base_layer() for layer in layers), head))
    sums_of(base_of(model)).layers.clear()


def sums_of(base: Any) -> Sums:
    """The sums of a model's weights and adapters; empty ones where there are none."""
    return _SUMS.get(base) or Sums([])


def _pack(base: Any, layers: list[Any]) -> None:
    """Pack what lies under the adapters, and the head, which has none."""
    pack(layer.get_base_layer() for layer in layers)
    head = base.get_output_embeddings()
    if type(head) is torch.nn.Linear:
        pack([head])
        vars(head)["forward"] = partial(_head_forward, head)


def _head_forward(head: Any, x: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        return torch.nn.Linear.forward(head, x)
    return frozen(head).forward(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)


def _is_plain(layer: Any) -> bool:
    [name] = layer.active_adapters
    weights = (layer.get_base_layer(), layer.lora_A[name], layer.lora_B[name])
    return (
        type(weights[0]) is torch.nn.Linear
        and not layer.use_dora.get(name)
        and isinstance(layer.lora_dropout[name], torch.nn.Identity)
        and weights[2].bias is None
    )


def _sum(layer: Any) -> Tensor:
    """W + s B A, (E, D)."""
    [name] = layer.active_adapters
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    return torch.addmm(layer.get_base_layer().weight, b, a, alpha=layer.scaling[name])


def _forward(layer: Any, sums: Sums, place: int, x: Tensor) -> Tensor:
    base, flat = layer.get_base_layer(), x.reshape(-1, x.shape[-1])
    if sums.on:
        return sums.products[place](flat, base.bias).view(*x.shape[:-1], -1)
    if layer.disable_adapters:
        return frozen(base).forward(flat).view(*x.shape[:-1], -1)
    [name] = layer.active_adapters
    adapter = (layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name])
    if torch.is_grad_enabled():
        y: Tensor = _LowRank.apply(flat, frozen(base), *adapter)  # type: ignore[no-untyped-call]
    else:
        y = _product(flat, frozen(base), *adapter)[0]
    return y.view(*x.shape[:-1], -1)


def _product(
    x_TD: Tensor, base: FrozenLayer, a_RD: Tensor, b_ER: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    low_TR = x_TD @ a_RD.to(x_TD.dtype).T
    y_TE = base.forward(x_TD)
    return y_TE.addmm_(low_TR, b_ER.to(x_TD.dtype).T, alpha=scale), low_TR


class _LowRank(torch.autograd.Function):
    """The same with gradients for x, A and B; the weight and its bias are frozen."""

    @staticmethod
    def forward(
        ctx: Any, x_TD: Tensor, base: FrozenLayer, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        y_TE, low = _product(x_TD, base, a, b, scale)
        ctx.save_for_backward(x_TD, a, b, low)
        ctx.base, ctx.scale = base, scale
        return y_TE

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        x, a, b, low = ctx.saved_tensors
        [slope] = slopes
        down = (slope @ b.to(slope.dtype)).mul_(ctx.scale)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = ctx.base.back(slope).addmm_(down, a.to(slope.dtype))
        da = (down.T @ x).to(a.dtype)
        db = (slope.T @ low).mul_(ctx.scale).to(b.dtype)
        return dx, None, da, db, None
