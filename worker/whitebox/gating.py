"""The gated half of a block, forward and back by hand: x + down(silu(gate(n)) up(n)), n = norm(x).

Autograd would take more passes over memory.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from worker.whitebox.native import rows
from worker.whitebox.norms import Norm
from worker.whitebox.stacks import Stack


@dataclass(frozen=True, eq=False)
class Gating:
    """What it computes with."""

    norm: Norm
    gate_up: Stack
    down: Stack
    compiled: bool = False
    """Whether the kernels compute what is no product."""

    @property
    def factors(self) -> list[Tensor]:
        """Of all adapters, in the order of their slopes."""
        return [*self.gate_up.flat, *self.down.flat]

    def values(self, x_TD: Tensor) -> Tensor:
        """The output, (T, D), and nothing kept for a way back."""
        wide_TI = self.gate_up.values(self.norm.values(x_TD))
        return self.down.values(self.gated(wide_TI), x_TD)

    def gated(self, wide_TI: Tensor) -> Tensor:
        """silu(gate) up of gate and up beside one another."""
        if self.compiled:
            return rows.gate(wide_TI)
        gate_TI, up_TI = wide_TI.chunk(2, -1)
        return silu(gate_TI).mul_(up_TI)

    def before_gate(self, slope_TI: Tensor, wide_TI: Tensor) -> Tensor:
        """The slopes of gate and up beside one another, given that of their product."""
        if self.compiled:
            return rows.gate_back(slope_TI, wide_TI)
        gate_TI, up_TI = wide_TI.chunk(2, -1)
        found = torch.empty_like(wide_TI)
        of_gate_TI, of_up_TI = found.chunk(2, -1)
        torch.mul(slope_TI, silu(gate_TI), out=of_up_TI)
        slope_TI.mul_(up_TI)
        torch.ops.aten.silu_backward.grad_input(slope_TI, gate_TI, grad_input=of_gate_TI)
        return found

    def learnt(self, x_TD: Tensor) -> Tensor:
        """The output with gradients for x and for all adapters."""
        out: Tensor = _Gated.apply(x_TD, self, *self.factors)  # type: ignore[no-untyped-call]
        return out


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, of: Gating, *factors: Tensor) -> Tensor:
        normed_TD, inverse_T1 = of.norm.forward(x_TD)
        wide_TI, low_wide = of.gate_up.product(normed_TD)
        gated_TI = of.gated(wide_TI)
        out_TD, low_down = of.down.product(gated_TI)
        # the factors as well: autograd then tells if they have changed before the way back
        kept = (x_TD, normed_TD, inverse_T1, wide_TI, low_wide, gated_TI, low_down)
        ctx.save_for_backward(*kept, *factors)
        ctx.of = of
        return out_TD.add_(x_TD)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        x_TD, normed_TD, inverse_T1, wide_TI, low_wide, *kept = ctx.saved_tensors
        gated_TI, low_down, *_ = kept
        slope_TI, *down = ctx.of.down.back(slopes[0], gated_TI, low_down)
        wide = ctx.of.before_gate(slope_TI, wide_TI)
        slope_TD, *gate_up = ctx.of.gate_up.back(wide, normed_TD, low_wide)
        return ctx.of.norm.back(slope_TD, x_TD, inverse_T1, slopes[0]), None, *gate_up, *down
