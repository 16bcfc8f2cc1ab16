"""The attending half of a block, forward and back by hand: x + out(attention(q, k, v)).

q, k, v are products of norm(x), with q and k turned by their positions. Autograd would take
more passes over memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worker.whitebox.native import attention, rows
from worker.whitebox.native.attention import Segments
from worker.whitebox.native.heads import Heads
from worker.whitebox.native.stepping import Kept, Rows, attend_step
from worker.whitebox.norms import Norm
from worker.whitebox.stacks import Stack
from worker.whitebox.tree import Tree, seen_by, slope_through

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of queries (B, H, T, d) to keys and values (B, h, T, d); gives (B, T, H, d)."""
MOST_SCORES = 1 << 24
"""Of all heads, that the kernels keep at once, twice on the way back: 64 MiB each."""


@dataclass(frozen=True)
class Rotation:
    """Rotary positions: the halves of a head are the two axes of a plane for each frequency."""

    cos_BT1d: Tensor
    sin_BT1d: Tensor
    """Both over half a head; B is 1 where all rows have the same positions."""

    def shape(self, tokens: int) -> tuple[int, int]:
        """So many tokens as rows, B, of equal length, T."""
        length = self.cos_BT1d.shape[1]
        return tokens // length, length

    def at(self, position_R: Tensor) -> "Rotation":
        """Some of one row's positions, as a row of their own."""
        return Rotation(
            *(one.index_select(1, position_R) for one in (self.cos_BT1d, self.sin_BT1d))
        )

    def turn(self, heads_BTFd: Tensor, sign: int = 1) -> None:
        """Turn heads in place; with sign -1 turn them back."""
        first, second = heads_BTFd.chunk(2, -1)
        old = first.clone()
        first.mul_(self.cos_BT1d).addcmul_(second, self.sin_BT1d, value=-sign)
        second.mul_(self.cos_BT1d).addcmul_(old, self.sin_BT1d, value=sign)


def rotation_of(cos_BTd: Tensor, sin_BTd: Tensor) -> Rotation:
    """The library's, which holds every angle twice."""
    halves = [one.unsqueeze(2).chunk(2, -1)[0] for one in (cos_BTd, sin_BTd)]
    return Rotation(*(half.contiguous() for half in halves))


class Rotations:
    """Makes a rotation of the library's, once for all blocks of a pass."""

    def __init__(self) -> None:
        self._latest: tuple[Tensor, Rotation] | None = None

    def of(self, cos_BTd: Tensor, sin_BTd: Tensor) -> Rotation:
        """The latest, if it is of these."""
        if self._latest is None or self._latest[0] is not cos_BTd:
            self._latest = cos_BTd, rotation_of(cos_BTd, sin_BTd)
        return self._latest[1]


@dataclass(frozen=True, eq=False)
class Attending:
    """What it computes with."""

    norm: Norm
    qkv: Stack
    out: Stack
    heads: Heads
    compiled: bool = False
    """Whether the kernels compute what is no product."""

    @property
    def factors(self) -> list[Tensor]:
        """Of all adapters, in the order of their slopes."""
        return [*self.qkv.flat, *self.out.flat]

    def values(self, x_BTD: Tensor, rotation: Rotation, attention: Attention) -> Tensor:
        """The output, (B, T, D), and nothing kept for a way back."""
        x_TD = x_BTD.flatten(0, 1)
        wide_TE = self.turned(self.qkv.values(self.norm.values(x_TD)), rotation)
        seen = attention(*self.parts(wide_TE.view(*x_BTD.shape[:2], -1)))
        return self.out.values(seen.reshape(len(x_TD), -1), x_TD).view(x_BTD.shape)

    def step(self, x_RD: Tensor, rotation: Rotation, rows: Rows, kept: Kept) -> Tensor:
        """The output of a decoding step, (R, D), one token a row, by the kernels."""
        wide_RE = self.turned(self.qkv.values(self.norm.values(x_RD)), rotation)
        return self.out.values(attend_step(wide_RE, self.heads, rows, kept), x_RD)

    def learnt(self, x_BTD: Tensor, rotation: Rotation, tree: Tree | None) -> Tensor:
        """The output with gradients for x and for all adapters.

        Without a tree, rows are attended to from left to right.
        """
        out: Tensor = _Attended.apply(  # type: ignore[no-untyped-call]
            x_BTD, self, rotation, tree, *self.factors
        )
        return out

    def turned(self, wide_TE: Tensor, rotation: Rotation, sign: int = 1) -> Tensor:
        """All heads, (T, (H + 2 h) d), with queries and keys turned in place."""
        turning, size = self.heads.queries + self.heads.shared, self.heads.size
        if self.compiled:
            rows.turn(wide_TE, turning, rotation.cos_BT1d, rotation.sin_BT1d, sign)
        else:
            some = wide_TE[:, : turning * size].view(*rotation.shape(len(wide_TE)), -1, size)
            rotation.turn(some, sign)
        return wide_TE

    def parts(self, wide_BTE: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values as views, each (B, heads, T, d)."""
        query, key = self.heads.queries, self.heads.queries + self.heads.shared
        heads = wide_BTE.view(*wide_BTE.shape[:2], -1, self.heads.size).transpose(1, 2)
        return heads[:, :query], heads[:, query:key], heads[:, key:]

    def seen(self, wide_BTE: Tensor, tree: Tree | None) -> tuple[Tensor, Tensor]:
        """The output of attention in learning, (B T, H d), and its log-sums."""
        segments = self._segments(wide_BTE, tree)
        if segments is not None:
            return attention.attend(wide_BTE.flatten(0, 1), self.heads, segments)
        seen, sums = seen_by(*self.parts(wide_BTE), tree, self.heads.scale)
        return seen.transpose(1, 2).flatten(2).flatten(0, 1), sums

    def slopes(
        self, slope_TE: Tensor, wide_BTE: Tensor, seen: tuple[Tensor, Tensor], tree: Tree | None
    ) -> Tensor:
        """The slopes of all heads, (T, (H + 2 h) d), given that of the output and what it was."""
        segments = self._segments(wide_BTE, tree)
        if segments is not None:
            return attention.slopes(slope_TE, wide_BTE.flatten(0, 1), seen, self.heads, segments)
        shape = (*wide_BTE.shape[:2], -1, self.heads.size)
        slope, out = (one.view(shape).transpose(1, 2) for one in (slope_TE, seen[0]))
        into = torch.empty_like(wide_BTE)
        given = (slope, self.parts(wide_BTE), (out, seen[1]), self.parts(into))
        slope_through(*given, tree, self.heads.scale)
        return into.flatten(0, 1)

    def _segments(self, wide_BTE: Tensor, tree: Tree | None) -> Segments | None:
        """Of a prompt with its responses or of rows, as the kernels take them.

        None where torch has to attend: the kernels keep all scores, and long texts have too many.
        """
        texts, tokens = wide_BTE.shape[:2]
        found = Segments(range(0, texts * tokens + 1, tokens))
        if tree is not None:
            found = Segments(tree.starts, tree.prompt)
        few = self.heads.queries * found.scores <= MOST_SCORES
        return found if self.compiled and few else None


class _Attended(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_BTD: Tensor,
        of: Attending,
        rotation: Rotation,
        tree: Tree | None,
        *factors: Tensor,
    ) -> Tensor:
        x_TD = x_BTD.flatten(0, 1)
        normed_TD, inverse_T1 = of.norm.forward(x_TD)
        wide_TE, low_qkv = of.qkv.product(normed_TD)
        wide_BTE = of.turned(wide_TE, rotation).view(*x_BTD.shape[:2], -1)
        seen_TE, sums = of.seen(wide_BTE, tree)
        out_TD, low_out = of.out.product(seen_TE)
        # the factors as well: autograd then tells if they have changed before the way back
        kept = (x_TD, normed_TD, inverse_T1, low_qkv, wide_BTE, seen_TE, sums, low_out)
        ctx.save_for_backward(*kept, *factors)
        ctx.of, ctx.rotation, ctx.tree = of, rotation, tree
        return out_TD.add_(x_TD).view(x_BTD.shape)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        x_TD, normed_TD, inverse_T1, low_qkv, wide_BTE, *kept = ctx.saved_tensors
        seen_TE, sums, low_out, *_ = kept
        of, slope_TD = ctx.of, slopes[0].flatten(0, 1)
        of_seen_TE, *out = of.out.back(slope_TD, seen_TE, low_out)
        of_wide_TE = of.slopes(of_seen_TE, wide_BTE, (seen_TE, sums), ctx.tree)
        onward = ctx.needs_input_grad[0]
        before_TE = of.turned(of_wide_TE, ctx.rotation, -1)
        before_TD, *qkv = of.qkv.back(before_TE, normed_TD, low_qkv, onward=onward)
        dx = None
        if onward:
            dx = of.norm.back(before_TD, x_TD, inverse_T1, slope_TD).view(slopes[0].shape)
        return dx, None, None, None, *qkv, *out
