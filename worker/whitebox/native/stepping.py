"""Attention of a decoding step by the kernels."""

from ctypes import byref
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.whitebox.native.heads import Heads
from worker.whitebox.native.library import StepCall, needed


@dataclass(frozen=True)
class Rows:
    """What the rows of a step read, alike in all layers."""

    slot_R: Tensor
    """Where each row's own keys and values are."""
    prompt_R: Tensor
    """Which prompt each reads."""
    start_P: Tensor
    """Where each prompt begins behind its padding."""
    length: int
    """Tokens of the rows so far."""


@dataclass(frozen=True)
class Kept:
    """Keys and values of a layer."""

    keys_PhTd: Tensor
    """Of the prompts, padded on the left."""
    values_PhTd: Tensor
    own_2Rhtd: Tensor
    """Keys and values of the responses, with room for more tokens than there are."""


def attend_step(wide_RE: Tensor, heads: Heads, rows: Rows, kept: Kept) -> Tensor:
    """Attention of one query a row, (R, H d), over its prompt and its own tokens.

    `wide` holds queries, keys and values beside one another, (R, (H + 2 h) d), with queries and
    keys turned by their positions; the new keys and values are kept with the row's own.

    Raises:
        MemoryError: there is no room for a row's scores.
    """
    out_RE = wide_RE.new_empty(len(wide_RE), heads.queries * heads.size)
    own, keys = kept.own_2Rhtd, kept.keys_PhTd
    call = StepCall(len(wide_RE), heads.queries, heads.shared, heads.size, heads.scale)
    call.wide, call.out = wide_RE.data_ptr(), out_RE.data_ptr()
    call.own_keys, call.own_values = own[0].data_ptr(), own[1].data_ptr()
    call.own_row, call.own_head, call.length = own.stride(1), own.stride(2), rows.length
    call.keys, call.values = keys.data_ptr(), kept.values_PhTd.data_ptr()
    call.prompt_row, call.prompt_head, call.prompt_tokens = *keys.stride()[:2], keys.shape[2]
    call.slot, call.prompt = rows.slot_R.data_ptr(), rows.prompt_R.data_ptr()
    call.start = rows.start_P.data_ptr()
    if not needed().attend_step(byref(call), torch.get_num_threads()):
        raise MemoryError("no memory for the scores of a decoding step")
    return out_RE
