"""Root-mean-square norms in fewer passes over memory than the library's."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from worker.whitebox.native import rows


@dataclass(frozen=True)
class Norm:
    """y = w x / rms(x), forward and back by hand; w is frozen."""

    weight_D: Tensor
    epsilon: float
    compiled: bool = False
    """Whether the kernels compute it."""

    def forward(self, x_TD: Tensor) -> tuple[Tensor, Tensor]:
        """Return y (T, D) and 1 / rms(x), (T, 1)."""
        if self.compiled:
            return rows.norm(x_TD, self.weight_D, self.epsilon)
        length_T1 = torch.linalg.vector_norm(x_TD, dim=-1, keepdim=True)
        inverse_T1 = length_T1.mul_(length_T1).div_(x_TD.shape[-1]).add_(self.epsilon).rsqrt_()
        return (x_TD * inverse_T1).mul_(self.weight_D), inverse_T1

    def values(self, x_TD: Tensor) -> Tensor:
        """Return y alone."""
        if self.compiled:
            return rows.norm_alone(x_TD, self.weight_D, self.epsilon)
        return self.forward(x_TD)[0]

    def back(self, slope_TD: Tensor, x_TD: Tensor, inverse_T1: Tensor, more_TD: Tensor) -> Tensor:
        """Return the slope of x, added to `more`, given that of y, which is spent."""
        if self.compiled:
            return rows.norm_back(slope_TD, self.weight_D, x_TD, inverse_T1, more_TD)
        slope_TD.mul_(self.weight_D)
        along_T1 = (slope_TD * x_TD).sum(-1, keepdim=True)
        along_T1.mul_(inverse_T1.pow(3)).div_(x_TD.shape[-1])
        return more_TD.addcmul(slope_TD, inverse_T1).addcmul_(x_TD, along_T1, value=-1)


def use_torch_norms(model: Any) -> None:
    """Let every plain RMS norm of a float32 model compute y = w x / rms(x) by torch's operator.

    A norm is plain if both agree on a few random vectors: some add one to their weight.
    """
    for module in model.modules():
        if _is_rms_norm(module) and _is_plain(module):
            module.forward = partial(_norm, module)


def _is_rms_norm(module: Any) -> bool:
    """By its name and the one attribute that the library's RMS norms share."""
    return type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon")


@torch.no_grad()
def _is_plain(module: Any) -> bool:
    weight_D: Tensor = module.weight
    if weight_D.dtype != torch.float32 or weight_D.device.type != "cpu":
        return False
    x_TD = torch.randn(3, len(weight_D), generator=torch.Generator().manual_seed(0))
    return torch.allclose(module(x_TD), _norm(module, x_TD), atol=1e-5, rtol=1e-4)


def _norm(module: Any, x: Tensor) -> Tensor:
    """The norm of each vector in the last dimension, in the shape of x."""
    weight_D: Tensor = module.weight
    return torch.nn.functional.rms_norm(x, weight_D.shape, weight_D, module.variance_epsilon)
