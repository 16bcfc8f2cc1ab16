"""The product of frozen weights with their low-rank adapters, in as few operations as it needs.

Adapters, their start and their files are peft's; its forward takes nine operations where three
matrix products do, a third of a decoding step's time on a CPU. Layers that read the same input are
multiplied as one. For sampling there may be a second copy of the adapted weights with the adapters
added in, so that a step takes one product.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from peft.tuners.lora import Linear
from torch import Tensor

from worker.whitebox.frozen import (
    FrozenLayer,
    Product,
    can_pack,
    frozen,
    joined,
    pack,
    product_with,
    unpack,
)
from worker.whitebox.score import base_of

TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers of one block that read the same input, in the order in which a block asks them."""


@dataclass(eq=False)
class Stack:
    """Adapted layers that read the same input, or one alone."""

    layers: list[Any]
    base: FrozenLayer
    _ready: tuple[Tensor, Sequence[Tensor]] | None = None
    """An input, and the outputs of all layers for it."""

    @property
    def sizes(self) -> list[int]:
        """The output size of each layer."""
        return [layer.out_features for layer in self.layers]

    @property
    def factors(self) -> "list[Factors]":
        """Of the adapters at work."""
        names = [layer.active_adapters[0] for layer in self.layers]
        return [
            Factors(layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name])
            for layer, name in zip(self.layers, names, strict=True)
        ]

    @torch.no_grad()
    def sum(self) -> Tensor:
        """W + s B A of all layers below one another, (E, D)."""
        first = self.layers[0].get_base_layer().weight
        total_ED: Tensor = first.new_empty(sum(self.sizes), first.shape[1])
        parts = zip(self.layers, self.factors, torch.split(total_ED, self.sizes), strict=True)
        for layer, (a, b, scale), part_ED in parts:
            torch.addmm(layer.get_base_layer().weight, b, a, alpha=scale, out=part_ED)
        return total_ED

    def forward(self, sums: "Sums", place: int, which: int, x: Tensor) -> Tensor:
        """The output of one of the layers; the first that a block asks computes those of all."""
        ready = self._ready
        if which == 0 or ready is None or ready[0] is not x:
            ready = (x, _outputs(self, sums, place, x))
        self._ready = None if which == len(self.layers) - 1 else ready
        return ready[1][which]


class Factors(NamedTuple):
    """An adapter: y += s (x A') B'."""

    a_RD: Tensor
    b_ER: Tensor
    scale: float


@dataclass
class Sums:
    """Products with adapted weights that have their adapters added in; used while `on`."""

    stacks: list[Stack]
    packed: bool = False
    products: dict[int, Product] = field(default_factory=dict)
    """By the stack's place."""
    on: bool = False

    def renew(self) -> None:
        """Add the adapters as they are now."""
        for place, stack in enumerate(self.stacks):
            self.products[place] = product_with(stack.sum(), packed=self.packed)

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
    base = model.get_base_model()
    layers = [layer for layer in model.modules() if type(layer) is Linear and _is_plain(layer)]
    stacks = [
        Stack(some, FrozenLayer(*(layer.get_base_layer() for layer in some), packed=packed))
        for some in _stacked(base, layers, packed=packed)
    ]
    exact = all(layer.get_base_layer().weight.dtype == torch.float32 for layer in layers)
    kept = _SUMS[base] = Sums(stacks if sums and exact else [], packed)
    for place, stack in enumerate(stacks):
        for which, layer in enumerate(stack.layers):
            layer.forward = partial(stack.forward, kept, place, which)
    if packed:
        _pack_head(base)


def use_plain_products(model: Any) -> None:
    """Take that back: peft's own products, and no second copy of any weight."""
    layers = [layer for layer in model.modules() if type(layer) is Linear]
    head = base_of(model).get_output_embeddings()
    for module in (*layers, head):
        vars(module).pop("forward", None)
    unpack([head])
    sums_of(base_of(model)).stacks.clear()


def sums_of(base: Any) -> Sums:
    """The sums of a model's weights and adapters; empty ones where there are none."""
    return _SUMS.get(base) or Sums([])


def _stacked(base: Any, layers: list[Any], *, packed: bool) -> list[list[Any]]:
    """The layers, those together that read the same input.

    Weights that are not laid out anew would have to be copied for it, so they stay apart.
    """
    anew = [layer for layer in layers if packed and can_pack(layer.get_base_layer().weight)]
    found = [
        [getattr(block, name) for name in names]
        for block in base.modules()
        for names in TOGETHER
        if all(any(getattr(block, name, None) is layer for layer in anew) for name in names)
    ]
    taken = {id(layer) for some in found for layer in some}
    return [*found, *([layer] for layer in layers if id(layer) not in taken)]


def _pack_head(base: Any) -> None:
    """The head has no adapter."""
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


def _outputs(stack: Stack, sums: Sums, place: int, x: Tensor) -> Sequence[Tensor]:
    """What each layer makes of an input."""
    flat_TD = x.reshape(-1, x.shape[-1])
    if sums.on:
        y_TE = sums.products[place](flat_TD, stack.base.bias)
    elif stack.layers[0].disable_adapters:
        y_TE = stack.base.forward(flat_TD)
    elif torch.is_grad_enabled():
        factors, scales = _flat(stack.factors)
        y_TE = _LowRank.apply(flat_TD, stack.base, scales, *factors)  # type: ignore[no-untyped-call]
    else:
        y_TE = _product(flat_TD, stack.base, stack.factors)[0]
    y = y_TE.view(*x.shape[:-1], -1)
    return (y,) if len(stack.layers) == 1 else torch.split(y, stack.sizes, -1)


def _flat(factors: Sequence[Factors]) -> tuple[list[Tensor], list[float]]:
    """All A, then all B; and the scales: autograd sees only tensors that are arguments."""
    tensors = [*(f.a_RD for f in factors), *(f.b_ER for f in factors)]
    return tensors, [f.scale for f in factors]


def _unflat(tensors: Sequence[Tensor], scales: Sequence[float]) -> list[Factors]:
    count = len(scales)
    return [Factors(*f) for f in zip(tensors[:count], tensors[count:], scales, strict=True)]


def _product(x_TD: Tensor, base: FrozenLayer, factors: Sequence[Factors]) -> tuple[Tensor, Tensor]:
    """Y (T, E), and what the first factors make of x, (T, R)."""
    low_TR = x_TD @ joined([f.a_RD for f in factors]).to(x_TD.dtype).T
    y_TE = base.forward(x_TD)
    for f, y, low in zip(factors, *_shares(factors, y_TE, low_TR), strict=True):
        y.addmm_(low, f.b_ER.to(x_TD.dtype).T, alpha=f.scale)
    return y_TE, low_TR


def _shares(
    factors: Sequence[Factors], wide_TE: Tensor, low_TR: Tensor
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Each adapter's columns of outputs and of low-rank products."""
    return (
        torch.split(wide_TE, [len(f.b_ER) for f in factors], 1),
        torch.split(low_TR, [len(f.a_RD) for f in factors], 1),
    )


class _LowRank(torch.autograd.Function):
    """The same with gradients for x, all A and all B; the weights and their biases are frozen."""

    @staticmethod
    def forward(
        ctx: Any, x_TD: Tensor, base: FrozenLayer, scales: Sequence[float], *tensors: Tensor
    ) -> Tensor:
        y_TE, low_TR = _product(x_TD, base, _unflat(tensors, scales))
        ctx.save_for_backward(x_TD, low_TR, *tensors)
        ctx.base, ctx.scales = base, scales
        return y_TE

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        x_TD, low_TR, *tensors = ctx.saved_tensors
        [slope_TE] = slopes
        factors = _unflat(tensors, ctx.scales)
        each = list(zip(factors, *_shares(factors, slope_TE, low_TR), strict=True))
        downs = [(slope @ f.b_ER.to(slope.dtype)).mul_(f.scale) for f, slope, _ in each]
        down_TR = downs[0] if len(downs) == 1 else torch.cat(downs, 1)
        dx = None
        if ctx.needs_input_grad[0]:
            a_RD = joined([f.a_RD for f in factors]).to(slope_TE.dtype)
            dx = ctx.base.back(slope_TE).addmm_(down_TR, a_RD)
        da_RD = (down_TR.T @ x_TD).to(factors[0].a_RD.dtype)
        db = [(slope.T @ low).mul_(f.scale).to(f.b_ER.dtype) for f, slope, low in each]
        return dx, None, None, *torch.split(da_RD, [len(f.a_RD) for f in factors]), *db
