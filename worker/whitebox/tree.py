"""Attention of responses that stand behind one prompt, without the pairs that see nothing.

A mask costs all pairs of a row: several times those that count. Here the prompt attends to itself,
all responses to the prompt, each response to itself, and the parts are joined by their log-sums, as
ring attention does it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

# the one attention of torch's for a CPU that tells its log-sums
_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001
_flash_back = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward  # noqa: SLF001


@dataclass(frozen=True)
class Tree:
    """A row of one prompt and the responses behind it, by their lengths in tokens."""

    prompt: int
    responses: tuple[int, ...]

    @property
    def starts(self) -> list[int]:
        """Where the prompt and each response begin, and where the last ends."""
        return [0, *accumulate(self.responses, initial=self.prompt)]

    @property
    def own(self) -> list[slice]:
        """The place of each response that is not empty."""
        return [slice(start, end) for start, end in pairwise(self.starts[1:]) if end > start]


def attend(query: Tensor, key: Tensor, value: Tensor, tree: Tree, scale: float) -> Tensor:
    """Attention of one row: queries (1, H, T, d), keys and values (1, h, T, d); gives (1, H, T, d).

    H / h query heads share a key head.
    """
    out: Tensor = _TreeAttention.apply(query, key, value, tree, scale)  # type: ignore[no-untyped-call]
    return out


def seen_by(
    query: Tensor, key: Tensor, value: Tensor, tree: Tree | None, scale: float
) -> tuple[Tensor, Tensor]:
    """What `attend` gives, heads after tokens in memory, with the log-sums (1, H, T).

    Without a tree each of several rows is attended to from left to right.
    """
    if tree is None:
        return _seen(query, key, value, scale, causal=True)
    rows, heads, tokens, size = query.shape
    prompt, behind = _cut(tree)
    ks, vs = key[:, :, prompt], value[:, :, prompt]
    out = query.new_empty(rows, tokens, heads, size).transpose(1, 2)
    sums = query.new_empty(rows, heads, tokens, dtype=torch.float32)
    out[:, :, prompt], sums[:, :, prompt] = _seen(query[:, :, prompt], ks, vs, scale, causal=True)
    out[:, :, behind], sums[:, :, behind] = _seen(query[:, :, behind], ks, vs, scale)
    for own in tree.own:
        part = (query[:, :, own], key[:, :, own], value[:, :, own])
        _join(out[:, :, own], sums[:, :, own], *_seen(*part, scale, causal=True))
    return out, sums


def slope_through(
    slope: Tensor,
    parts: Sequence[Tensor],
    seen: tuple[Tensor, Tensor],
    into: Sequence[Tensor],
    tree: Tree | None,
    scale: float,
) -> None:
    """Write the slopes of queries, keys and values, given that of what `seen_by` gave.

    Each part's slopes follow from the joined output and log-sums alone.
    """
    query, key, value = parts
    out, sums = seen

    def back(q: slice, k: slice, *, causal: bool) -> tuple[Tensor, Tensor, Tensor]:
        made = (slope[:, :, q], query[:, :, q], key[:, :, k], value[:, :, k], out[:, :, q])
        found: tuple[Tensor, Tensor, Tensor] = _flash_back(
            *made, sums[:, :, q], 0.0, causal, scale=scale
        )
        return found

    for own in (slice(None),) if tree is None else (_cut(tree)[0], *tree.own):
        for target, part in zip(into, back(own, own, causal=True), strict=True):
            target[:, :, own] = part
    if tree is not None:
        prompt, behind = _cut(tree)
        for target, at, more in zip(
            into, (behind, prompt, prompt), back(behind, prompt, causal=False), strict=True
        ):
            target[:, :, at] += more


class _TreeAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, tree: Tree, scale: float
    ) -> Tensor:
        out, sums = seen_by(query, key, value, tree, scale)
        ctx.save_for_backward(query, key, value, out, sums)
        ctx.tree, ctx.scale = tree, scale
        return out

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        *parts, out, sums = ctx.saved_tensors
        found = [torch.empty_like(one) for one in parts]
        slope_through(slopes[0], parts, (out, sums), found, ctx.tree, ctx.scale)
        return *found, None, None


def _cut(tree: Tree) -> tuple[slice, slice]:
    """The prompt, and all responses."""
    return slice(0, tree.prompt), slice(tree.prompt, tree.prompt + sum(tree.responses))


def _seen(
    query: Tensor, key: Tensor, value: Tensor, scale: float, *, causal: bool = False
) -> tuple[Tensor, Tensor]:
    """What these queries see of these keys alone, (1, H, t, d), and their log-sums (1, H, t)."""
    out, sums = _flash(query, key, value, is_causal=causal, scale=scale)
    return out, sums


def _join(out: Tensor, sums: Tensor, more: Tensor, more_sums: Tensor) -> None:
    """Put more keys to an output that has seen some, in place: (1, H, t, d) and (1, H, t)."""
    total = torch.logaddexp(sums, more_sums)
    out.mul_((sums - total).exp_().unsqueeze(-1).to(out.dtype))
    out.addcmul_(more, (more_sums - total).exp_().unsqueeze(-1).to(out.dtype))
    sums.copy_(total)
