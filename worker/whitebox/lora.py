"""Has the adapted layers of a peft model computed by our own products.

Adapters, their start and their files stay peft's.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from peft.tuners.lora import Linear
from torch import Tensor

from worker.whitebox.frozen import (
    FrozenLayer,
    Layout,
    Product,
    can_pack,
    frozen,
    pack,
    product_with,
    unpack,
)
from worker.whitebox.native.library import LANE, usable_for
from worker.whitebox.native.products import WIDE
from worker.whitebox.score import base_of
from worker.whitebox.stacks import Stack, Sums

TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers of one block that read the same input, in the order in which a block asks them."""

_SUMS: "WeakKeyDictionary[Any, Sums]" = WeakKeyDictionary()


def use_lean_products(
    model: Any, *, sums: bool = True, layout: Layout = "packed", compiled: bool = False
) -> list[Stack]:
    """Let every plain adapter of a peft model compute y = x W' + b + s (x A') B' by ours.

    With `sums`, sampling adds the adapters into a copy of the weights; not in bfloat16, whose eight
    bits would swallow a small adapter. `layout` is that of frozen weights and sums on a CPU; with
    `compiled` the kernels multiply by the sums and by the head.
    Returns the layers as they are multiplied.
    """
    base, packed = model.get_base_model(), layout == "packed"
    layers = [layer for layer in model.modules() if type(layer) is Linear and _is_plain(layer)]
    stacks = [_stack(some, layout, compiled=compiled) for some in _stacked(base, layers, layout)]
    exact = all(layer.get_base_layer().weight.dtype == torch.float32 for layer in layers)
    made = Stack.sum_in_panels if compiled else partial(_sum, packed=packed)
    _SUMS[base] = Sums(stacks if sums and exact else [], made)
    for stack in stacks:
        for which, layer in enumerate(stack.layers):
            layer.forward = partial(stack.forward, which)
    if packed or compiled:
        _pack_head(base, packed=packed, compiled=compiled)
    return stacks


def use_plain_products(model: Any) -> None:
    """Take that back: peft's own products, and no second copy of any weight."""
    layers = [layer for layer in model.modules() if type(layer) is Linear]
    head = base_of(model).get_output_embeddings()
    for module in (*layers, head):
        vars(module).pop("forward", None)
    unpack([head])
    _SUMS.pop(base_of(model), None)


def sums_of(base: Any) -> Sums:
    """The sums of a model's weights and adapters; empty ones where there are none."""
    return _SUMS.get(base) or Sums([])


def _sum(stack: Stack, *, packed: bool) -> Product:
    return product_with(stack.sum(), packed=packed)


def _stacked(base: Any, layers: list[Any], layout: Layout) -> list[list[Any]]:
    """The layers, those together that read the same input, unless weights stay as they lie."""
    anew = {
        id(layer) for layer in layers if layout != "own" and can_pack(layer.get_base_layer().weight)
    }
    found = [
        [getattr(block, name) for name in names]
        for block in base.modules()
        for names in TOGETHER
        if all(id(getattr(block, name, None)) in anew for name in names)
    ]
    taken = {id(layer) for some in found for layer in some}
    return [*found, *([layer] for layer in layers if id(layer) not in taken)]


def _pack_head(base: Any, *, packed: bool, compiled: bool) -> None:
    """The head has no adapter."""
    head = base.get_output_embeddings()
    if type(head) is torch.nn.Linear:
        pack([head], packed=packed, compiled=compiled and usable_for(head.weight))
        vars(head)["forward"] = partial(_head_forward, head)


def _head_forward(head: Any, x: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        return torch.nn.Linear.forward(head, x)
    return frozen(head).forward(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)


def _stack(layers: list[Any], layout: Layout, *, compiled: bool) -> Stack:
    """By panels where all outputs fill whole ones."""
    compiled = compiled and _suits_kernels(layers)
    frozen_ones = [layer.get_base_layer() for layer in layers]
    whole = not any(layer.out_features % WIDE for layer in layers)
    base = FrozenLayer(*frozen_ones, packed=layout == "packed", compiled=compiled and whole)
    return Stack(layers, base, compiled)


def _suits_kernels(layers: Sequence[Any]) -> bool:
    """One rank, widths that are whole lanes, and numbers of the kernels' kind."""
    [name] = {name for layer in layers for name in layer.active_adapters}
    ranks = {layer.r[name] for layer in layers}
    widths = (*ranks, *(width for one in layers for width in (one.in_features, one.out_features)))
    parts = [(one.get_base_layer(), one.lora_A[name], one.lora_B[name]) for one in layers]
    kind = all(usable_for(part.weight) for some in parts for part in some)
    return kind and len(ranks) == 1 and not any(width % LANE for width in widths)


def _is_plain(layer: Any) -> bool:
    [name] = layer.active_adapters
    weights = (layer.get_base_layer(), layer.lora_A[name], layer.lora_B[name])
    return (
        type(weights[0]) is torch.nn.Linear
        and not layer.use_dora.get(name)
        and isinstance(layer.lora_dropout[name], torch.nn.Identity)
        and weights[2].bias is None
    )
