"""Computes prompts before sampling: each distinct one once, next to others of about its length."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from worker.whitebox.attention import Prompts

PADDED = 1.25
"""Prompts are computed together while padding makes them at most this much longer."""


def prefill(model: Any, prompts: Sequence[tuple[int, ...]]) -> tuple[Prompts, Tensor]:
    """Keys and values of distinct prompts, in the order given, and their last logits (P, V)."""
    device = next(model.parameters()).device
    width = max(map(len, prompts))
    done: dict[int, Tensor] = {}
    keys: list[Tensor] = []
    values: list[Tensor] = []
    for some in _alike(prompts):
        layers, logits = _forward(model, [prompts[p] for p in some], device)
        if not keys:
            keys, values = ([_room(t, len(prompts), width) for t in ts] for ts in layers)
        for into, computed in zip((*keys, *values), (*layers[0], *layers[1]), strict=True):
            into[some, :, width - computed.shape[-2] :] = computed
        done |= dict(zip(some, logits, strict=True))
    bias = _bias(prompts, width, device).to(keys[0].dtype)
    found = Prompts(keys, values, bias, torch.arange(len(prompts), device=device), width=1)
    return found, torch.stack([done[p] for p in range(len(prompts))])


def _alike(prompts: Sequence[tuple[int, ...]]) -> Iterator[list[int]]:
    """Cut the prompts, by length, into groups of similar ones."""
    by_length = sorted(range(len(prompts)), key=lambda p: (len(prompts[p]), p))
    group: list[int] = []
    real = 0
    for p in by_length:
        length = len(prompts[p])
        if group and (len(group) + 1) * length > PADDED * (real + length):
            yield group
            group, real = [], 0
        group.append(p)
        real += length
    yield group


def _forward(
    model: Any, prompts: Sequence[tuple[int, ...]], device: torch.device
) -> tuple[tuple[list[Tensor], list[Tensor]], Tensor]:
    """Keys and values of every layer, (P, heads, T, d), padded on the left, and the last logits."""
    width = max(map(len, prompts))
    tokens_PT = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=device)
    cache = DynamicCache(config=model.config)
    arguments = {}
    if min(map(len, prompts)) < width:
        mask = [[0] * (width - len(p)) + [1] * len(p) for p in prompts]
        mask_PT = torch.tensor(mask, device=device)
        arguments["attention_mask"] = mask_PT
        arguments["position_ids"] = (mask_PT.cumsum(-1) - 1).clamp(min=0)
    out = model(tokens_PT, cache=cache, use_cache=True, logits_to_keep=1, **arguments)
    layers = ([layer.keys for layer in cache.layers], [layer.values for layer in cache.layers])
    return layers, out.logits[:, -1].float()


def _room(like: Tensor, rows: int, width: int) -> Tensor:
    return like.new_zeros(rows, like.shape[1], width, like.shape[3])


def _bias(prompts: Sequence[tuple[int, ...]], width: int, device: torch.device) -> Tensor:
    """0 for tokens and -inf for padding, (P, 1, 1, T)."""
    lengths_P = torch.tensor([len(prompt) for prompt in prompts], device=device)
    padding_PT = torch.arange(width, device=device) < width - lengths_P[:, None]
    return torch.zeros(padding_PT.shape, device=device).masked_fill(padding_PT, float("-inf"))[
        :, None, None
    ]
