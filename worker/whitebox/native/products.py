"""Products with weights in panels of 32 columns, made for few rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.whitebox.native.library import needed

WIDE = 32
"""Columns of a panel."""


@dataclass(frozen=True, eq=False)
class Panels:
    """A weight (E, D) as panels: all D of 32 outputs after one another, zeros beyond the last."""

    panels_PDW: Tensor
    outputs: int

    def __call__(
        self, x_TD: Tensor, bias_E: Tensor | None, more_TE: Tensor | None = None
    ) -> Tensor:
        """Return x W' + b, (T, E), added to `more`."""
        x_TD = x_TD.contiguous()
        rows, inner = x_TD.shape
        y_TE = x_TD.new_empty(rows, self.outputs)
        needed().by_panels(
            rows,
            self.outputs,
            inner,
            x_TD.data_ptr(),
            self.panels_PDW.data_ptr(),
            None if more_TE is None else more_TE.contiguous().data_ptr(),
            y_TE.data_ptr(),
            torch.get_num_threads(),
        )
        return y_TE if bias_E is None else y_TE.add_(bias_E)


def in_panels(weight_ED: Tensor) -> Panels:
    """Lay a float32 weight on a CPU out anew."""
    outputs, inner = weight_ED.shape
    short = -outputs % WIDE
    padded = torch.nn.functional.pad(weight_ED.detach(), (0, 0, 0, short))
    return Panels(padded.reshape(-1, WIDE, inner).mT.contiguous(), outputs)


def summed(
    weights: Sequence[Tensor], factors: Sequence[tuple[Tensor, Tensor]], scale: float
) -> Panels:
    """Lay out W + s B A of layers below one another, given each one's W (E, D), A and B.

    Each but the last has whole panels of outputs.
    """
    outputs, inner = sum(map(len, weights)), weights[0].shape[1]
    panels_PDW = weights[0].new_empty(-(-outputs // WIDE), inner, WIDE)
    at = 0
    for weight, (a, b) in zip(weights, factors, strict=True):
        into = panels_PDW[at // WIDE :].data_ptr()
        given = [one.contiguous() for one in (weight, a, b)]
        shape, places = (len(weight), inner, len(a)), (one.data_ptr() for one in given)
        needed().summed(*shape, *places, scale, into, torch.get_num_threads())
        at += len(weight)
    return Panels(panels_PDW, outputs)
