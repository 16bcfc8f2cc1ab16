"""Has the adapted layers of a peft model computed by our own products.

Adapters, their start and their files stay peft's.
"""

from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from peft.tuners.lora import Linear
from torch import Tensor

from worker.whitebox.frozen import FrozenLayer, Layout, can_pack, frozen, pack, unpack
from worker.whitebox.score import base_of
from worker.whitebox.stacks import Stack, Sums

TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers of one block that read the same input, in the order in which a block asks them."""

_SUMS: "WeakKeyDictionary[Any, Sums]" = WeakKeyDictionary()


def use_lean_products(model: Any, *, sums: bool = True, layout: Layout = "packed") -> list[Stack]:
    """Let every plain adapter of a peft model compute y = x W' + b + s (x A') B' by ours.

    With `sums`, sampling adds the adapters into a copy of the weights; not in bfloat16, whose eight
    bits would swallow a small adapter. `layout` is that of frozen weights and sums on a CPU.
    Returns the layers as they are multiplied.
    """
    base, packed = model.get_base_model(), layout == "packed"
    layers = [layer for layer in model.modules() if type(layer) is Linear and _is_plain(layer)]
    stacks = [
        Stack(some, FrozenLayer(*(layer.get_base_layer() for layer in some), packed=packed))
        for some in _stacked(base, layers, layout)
    ]
    exact = all(layer.get_base_layer().weight.dtype == torch.float32 for layer in layers)
    _SUMS[base] = Sums(stacks if sums and exact else [], packed)
    for stack in stacks:
        for which, layer in enumerate(stack.layers):
            layer.forward = partial(stack.forward, which)
    if packed:
        _pack_head(base)
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


def _stacked(base: Any, layers: list[Any], layout: Layout) -> list[list[Any]]:
    """The layers, those together that read the same input, unless weights stay as they lie."""
    anew = [
        layer for layer in layers if layout != "own" and can_pack(layer.get_base_layer().weight)
    ]
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
