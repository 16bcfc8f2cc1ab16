"""The attending half of a block, forward and back by hand: x + out(attention(q, k, v)).

q, k, v are products of norm(x), with q and k turned by their positions. Autograd would take
more passes over memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worker.whitebox.norms import Norm
from worker.whitebox.stacks import Stack
from worker.whitebox.tree import Tree, seen_by, slope_through

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of queries (B, H, T, d) to keys and values (B, h, T, d); gives (B, T, H, d)."""


@dataclass(frozen=True)
class Rotation:
    """Rotary positions: the halves of a head are the two axes of a plane for each frequency."""

    cos_BT1d: Tensor
    sin_BT1d: Tensor
    """Both over half a head; B is 1 where all rows have the same positions."""

    def turn(self, heads_BTFd: Tensor, sign: int = 1) -> None:
        """Turn heads in place; with sign -1 turn them back."""
        first, second = heads_BTFd.chunk(2, -1)
        old = first.clone()
        first.mul_(self.cos_BT1d).addcmul_(second, self.sin_BT1d, value=-sign)
        second.mul_(self.cos_BT1d).addcmul_(old, self.sin_BT1d, value=sign)


class Rotations:
    """Makes a rotation of the library's, once for all blocks of a pass."""

    def __init__(self) -> None:
        self._latest: tuple[Tensor, Rotation] | None = None

    def of(self, cos_BTd: Tensor, sin_BTd: Tensor) -> Rotation:
        """The same, of which the library holds everything twice."""
        if self._latest is None or self._latest[0] is not cos_BTd:
            halves = [one.unsqueeze(2).chunk(2, -1)[0] for one in (cos_BTd, sin_BTd)]
            self._latest = cos_BTd, Rotation(*(half.contiguous() for half in halves))
        return self._latest[1]


@dataclass(frozen=True, eq=False)
class Attending:
    """What it computes with."""

    norm: Norm
    qkv: Stack
    out: Stack
    heads: int
    """Of queries, H."""
    shared: int
    """Of keys and of values, h."""
    size: int
    """Of a head, d."""
    scale: float

    @property
    def factors(self) -> list[Tensor]:
        """Of all adapters, in the order of their slopes."""
        return [*self.qkv.flat, *self.out.flat]

    def values(self, x_BTD: Tensor, rotation: Rotation, attention: Attention) -> Tensor:
        """The output, (B, T, D), and nothing kept for a way back."""
        x_TD = x_BTD.flatten(0, 1)
        wide_TE = self.qkv.values(self.norm.forward(x_TD)[0])
        seen = attention(*self.parts(self.turned(wide_TE, x_BTD.shape, rotation)))
        return self.out.values(seen.reshape(len(x_TD), -1)).add_(x_TD).view(x_BTD.shape)

    def learnt(self, x_BTD: Tensor, rotation: Rotation, tree: Tree | None) -> Tensor:
        """The output with gradients for x and for all adapters.

        Without a tree, rows are attended to from left to right.
        """
        out: Tensor = _Attended.apply(  # type: ignore[no-untyped-call]
            x_BTD, self, rotation, tree, *self.factors
        )
        return out

    def turned(self, wide_TE: Tensor, shape: Sequence[int], rotation: Rotation) -> Tensor:
        """All heads, (B, T, H + 2h, d), with queries and keys turned in place."""
        heads_BTFd = wide_TE.view(*shape[:2], -1, self.size)
        rotation.turn(heads_BTFd[:, :, : self.heads + self.shared])
        return heads_BTFd

    def parts(self, heads_BTFd: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values as views, each (B, heads, T, d)."""
        query, key = self.heads, self.heads + self.shared
        heads = heads_BTFd.transpose(1, 2)
        return heads[:, :query], heads[:, query:key], heads[:, key:]


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
        heads = of.turned(wide_TE, x_BTD.shape, rotation)
        seen, sums = seen_by(*of.parts(heads), tree, of.scale)
        out_TD, low_out = of.out.product(_flat(seen))
        # the factors as well: autograd then tells if they have changed before the way back
        kept = (x_TD, normed_TD, inverse_T1, low_qkv, heads, seen, sums, low_out)
        ctx.save_for_backward(*kept, *factors)
        ctx.of, ctx.rotation, ctx.tree = of, rotation, tree
        return out_TD.add_(x_TD).view(x_BTD.shape)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        x_TD, normed_TD, inverse_T1, low_qkv, heads, *kept = ctx.saved_tensors
        seen, sums, low_out, *_ = kept
        of, slope_TD = ctx.of, slopes[0].flatten(0, 1)
        of_seen_TE, *out = of.out.back(slope_TD, _flat(seen), low_out)
        of_seen = of_seen_TE.view(*heads.shape[:2], -1, of.size).transpose(1, 2)
        wide = torch.empty_like(heads)
        slope_through(of_seen, of.parts(heads), (seen, sums), of.parts(wide), ctx.tree, of.scale)
        ctx.rotation.turn(wide[:, :, : of.heads + of.shared], -1)
        onward = ctx.needs_input_grad[0]
        before_TD, *qkv = of.qkv.back(
            wide.flatten(0, 1).flatten(1), normed_TD, low_qkv, onward=onward
        )
        dx = None
        if onward:
            dx = of.norm.back(before_TD, x_TD, inverse_T1, slope_TD).view(slopes[0].shape)
        return dx, None, None, None, *qkv, *out


def _flat(seen: Tensor) -> Tensor:
    """(B, H, T, d), heads after tokens in memory, as (B T, H d)."""
    return seen.transpose(1, 2).flatten(2).flatten(0, 1)
