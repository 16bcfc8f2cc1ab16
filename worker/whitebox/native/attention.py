"""Attention in learning by the kernels, forward and back: of trees, and of texts by themselves."""

from collections.abc import Sequence
from ctypes import byref, c_long
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from worker.whitebox.native.heads import Heads
from worker.whitebox.native.library import TreeCall, needed


@dataclass(frozen=True)
class Segments:
    """Tokens that see themselves from left to right, segment by segment."""

    starts: Sequence[int]
    """Where each begins, and where the last ends."""
    prompt: int = 0
    """Tokens at the beginning that all segments but the first see too."""

    @property
    def scores(self) -> int:
        """How many there are for a head."""
        lengths = [end - start for start, end in pairwise(self.starts)]
        return sum(n * n for n in lengths) + self.prompt * sum(lengths[1:])


def attend(wide_TE: Tensor, heads: Heads, segments: Segments) -> tuple[Tensor, Tensor]:
    """Return the output (T, H d) and the log-sums (H, T).

    Raises:
        MemoryError: there is no room for the scores.
    """
    out_TE = wide_TE.new_empty(len(wide_TE), heads.queries * heads.size)
    sums_HT = wide_TE.new_empty(heads.queries, len(wide_TE))
    call = _call(wide_TE, heads, segments)
    into = (out_TE.data_ptr(), sums_HT.data_ptr())
    if not needed().tree_forward(byref(call), *into, torch.get_num_threads()):
        raise MemoryError("no memory for the scores of an attention")
    return out_TE, sums_HT


def slopes(
    slope_TE: Tensor,
    wide_TE: Tensor,
    seen: tuple[Tensor, Tensor],
    heads: Heads,
    segments: Segments,
) -> Tensor:
    """Return the slopes of queries, keys and values, given that of the output and what it was.

    Raises:
        MemoryError: there is no room for the scores.
    """
    into_TE = torch.empty_like(wide_TE)
    call = _call(wide_TE, heads, segments)
    each = (*seen, slope_TE.contiguous(), into_TE)
    given = (one.data_ptr() for one in each)
    if not needed().tree_back(byref(call), *given, torch.get_num_threads()):
        raise MemoryError("no memory for the scores of an attention")
    return into_TE


def _call(wide_TE: Tensor, heads: Heads, segments: Segments) -> TreeCall:
    starts = (c_long * len(segments.starts))(*segments.starts)
    call = TreeCall(len(wide_TE), heads.queries, heads.shared, heads.size)
    call.segments, call.prompt, call.scale = len(starts) - 1, segments.prompt, heads.scale
    call.start, call.wide = starts, wide_TE.data_ptr()
    return call
