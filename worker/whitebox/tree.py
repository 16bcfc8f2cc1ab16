"""Attention of responses that stand behind one prompt, without the pairs that see nothing.

A mask costs all pairs of a row: several times those that count. Here the prompt attends to itself,
all responses to the prompt, each response to itself, and the parts are joined by their log-sums, as
ring attention does it.
"""

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
    def own(self) -> list[slice]:
        """The place of each response that is not empty."""
        ends = accumulate(self.responses, initial=self.prompt)
        return [slice(start, end) for start, end in pairwise(ends) if end > start]


def attend(query: Tensor, key: Tensor, value: Tensor, tree: Tree, scale: float) -> Tensor:
    """Attention of one row: queries (1, H, T, d), keys and values (1, h, T, d); gives (1, H, T, d).

    H / h query heads share a key head.
    """
    out: Tensor = _TreeAttention.apply(query, key, value, tree, scale)  # type: ignore[no-untyped-call]
    return out


class _TreeAttention(torch.autograd.Function):
    """Each part's slopes follow from the joined output and log-sums alone."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, tree: Tree, scale: float
    ) -> Tensor:
        prompt, behind = _cut(tree)
        qs, ks, vs = query[:, :, prompt], key[:, :, prompt], value[:, :, prompt]
        out, sums = torch.empty_like(query), query.new_empty(query.shape[:-1], dtype=torch.float32)
        out[:, :, prompt], sums[:, :, prompt] = _seen(qs, ks, vs, scale, causal=True)
        out[:, :, behind], sums[:, :, behind] = _seen(query[:, :, behind], ks, vs, scale)
        for own in tree.own:
            part = (query[:, :, own], key[:, :, own], value[:, :, own])
            _join(out[:, :, own], sums[:, :, own], *_seen(*part, scale, causal=True))
        ctx.save_for_backward(query, key, value, out, sums)
        ctx.tree, ctx.scale = tree, scale
        return out

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, sums = ctx.saved_tensors
        prompt, behind = _cut(ctx.tree)
        found = [torch.empty_like(one) for one in (query, key, value)]

        def back(q: slice, k: slice, *, causal: bool) -> tuple[Tensor, Tensor, Tensor]:
            seen = (slopes[0][:, :, q], query[:, :, q], key[:, :, k], value[:, :, k])
            made = (out[:, :, q], sums[:, :, q])
            parts: tuple[Tensor, Tensor, Tensor] = _flash_back(
                *seen, *made, 0.0, causal, scale=ctx.scale
            )
            return parts

        for own in (prompt, *ctx.tree.own):
            for slope, part in zip(found, back(own, own, causal=True), strict=True):
                slope[:, :, own] = part
        dq, dk, dv = back(behind, prompt, causal=False)
        found[0][:, :, behind] += dq
        found[1][:, :, prompt] += dk
        found[2][:, :, prompt] += dv
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
