"""What the kernels do to rows of hidden states, (T, D), float32: norms, gates, rotations.

D is a multiple of 16; a head's size is one of 32.
"""

import torch
from torch import Tensor

from worker.whitebox.native.library import needed


def norm(x_TD: Tensor, weight_D: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return w x / rms(x), and 1 / rms(x) as (T, 1)."""
    inverse_T1 = x_TD.new_empty(len(x_TD), 1)
    return _norm(x_TD, weight_D, epsilon, inverse_T1.data_ptr()), inverse_T1


def norm_alone(x_TD: Tensor, weight_D: Tensor, epsilon: float) -> Tensor:
    """Return w x / rms(x) and nothing for a way back."""
    return _norm(x_TD, weight_D, epsilon, None)


def _norm(x_TD: Tensor, weight_D: Tensor, epsilon: float, inverse: int | None) -> Tensor:
    x_TD = x_TD.contiguous()
    y_TD = torch.empty_like(x_TD)
    given = (*x_TD.shape, x_TD.data_ptr(), weight_D.data_ptr(), epsilon, y_TD.data_ptr(), inverse)
    needed().norm(*given, torch.get_num_threads())
    return y_TD


def norm_back(
    slope_TD: Tensor, weight_D: Tensor, x_TD: Tensor, inverse_T1: Tensor, more_TD: Tensor
) -> Tensor:
    """Return the slope of x, added to `more`, given that of y."""
    rows, width = x_TD.shape
    out_TD = torch.empty_like(x_TD)
    each = (slope_TD, weight_D, x_TD, inverse_T1, more_TD.contiguous(), out_TD)
    needed().norm_back(rows, width, *(one.data_ptr() for one in each), torch.get_num_threads())
    return out_TD


def gate(wide_TI: Tensor) -> Tensor:
    """Return silu(gate) up of the two halves of each row."""
    wide_TI = wide_TI.contiguous()
    rows, both = wide_TI.shape
    out = wide_TI.new_empty(rows, both // 2)
    needed().gate(rows, both // 2, wide_TI.data_ptr(), out.data_ptr(), torch.get_num_threads())
    return out


def gate_back(slope_TI: Tensor, wide_TI: Tensor) -> Tensor:
    """Return the slopes of gate and up beside one another, given that of their product."""
    out = torch.empty_like(wide_TI)
    each = (slope_TI.contiguous(), wide_TI, out)
    needed().gate_back(*slope_TI.shape, *(one.data_ptr() for one in each), torch.get_num_threads())
    return out


def turn(wide_TE: Tensor, heads: int, cos: Tensor, sin: Tensor, sign: int) -> None:
    """Turn the first heads of each row in place, by angles over half a head.

    There are angles for each row or for each of equally long sequences.
    """
    half = cos.shape[-1]
    needed().turn(
        len(wide_TE),
        heads,
        2 * half,
        wide_TE.data_ptr(),
        wide_TE.stride(0),
        cos.data_ptr(),
        sin.data_ptr(),
        cos.numel() // half,
        sign,
        torch.get_num_threads(),
    )
