"""Adapters of layers that read one input, by the kernels: y += s (x A') B' for each layer.

All are float32 and of one rank, a multiple of 16.
"""

from collections.abc import Sequence
from ctypes import byref, c_long, c_void_p

import torch
from torch import Tensor

from worker.whitebox.native.library import AdaptersCall, needed
from worker.whitebox.native.products import Panels

Factor = tuple[Tensor, Tensor]
"""A (R, D) and B (E, R) of a layer."""


def add(x_TD: Tensor, factors: Sequence[Factor], scale: float, y_TE: Tensor) -> Tensor:
    """Add to the outputs y, which stand beside one another; returns what all A make of x, (T, R).

    Raises:
        MemoryError: there is no room for a factor's copy.
    """
    return _forward(_call(x_TD, factors, scale, y_TE.shape[1]), x_TD, y_TE)


def multiplied(
    x_TD: Tensor, factors: Sequence[Factor], scale: float, weights: Panels
) -> tuple[Tensor, Tensor]:
    """Return x W' with the adapters added, (T, E), and what all A make of x, (T, R).

    Each layer but the last has whole panels of outputs.

    Raises:
        MemoryError: there is no room for a factor's copy.
    """
    y_TE = x_TD.new_empty(len(x_TD), weights.outputs)
    call = _call(x_TD, factors, scale, weights.outputs)
    call.panels = weights.panels_PDW.data_ptr()
    return y_TE, _forward(call, x_TD, y_TE)


def _forward(call: AdaptersCall, x_TD: Tensor, y_TE: Tensor) -> Tensor:
    low_TR = x_TD.new_empty(len(x_TD), call.count * call.rank)
    each = (one.data_ptr() for one in (x_TD, y_TE, low_TR))
    if not needed().adapters_forward(byref(call), *each, torch.get_num_threads()):
        raise MemoryError("no memory for a copy of the adapters")
    return low_TR


def back(
    slope_TE: Tensor,
    x_TD: Tensor,
    low_TR: Tensor,
    factors: Sequence[Factor],
    scale: float,
    dx_TD: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return the slopes of all A below one another, (R, D), and of all B, (E, R).

    Adds to the slope of x, where that is wanted.

    Raises:
        MemoryError: there is no room for the slopes of what all A make of x.
    """
    call = _call(x_TD, factors, scale, slope_TE.shape[1])
    da_RD = x_TD.new_empty(low_TR.shape[1], x_TD.shape[1])
    db_ER = x_TD.new_empty(slope_TE.shape[1], call.rank)
    given = (slope_TE, x_TD, low_TR, dx_TD, da_RD, db_ER)
    each = (None if one is None else one.data_ptr() for one in given)
    if not needed().adapters_back(byref(call), *each, torch.get_num_threads()):
        raise MemoryError("no memory for the slopes of the adapters")
    return da_RD, db_ER


def _call(x_TD: Tensor, factors: Sequence[Factor], scale: float, outer: int) -> AdaptersCall:
    count = len(factors)
    call = AdaptersCall(*x_TD.shape, outer, count, len(factors[0][0]), scale)
    call.sizes = (c_long * count)(*(len(b) for _, b in factors))
    call.a = (c_void_p * count)(*(a.data_ptr() for a, _ in factors))
    call.b = (c_void_p * count)(*(b.data_ptr() for _, b in factors))
    return call
