"""Fused kernels where a GPU and the package `liger-kernel` are at hand; never needed, not yet run.

Attention needs nothing of the kind: torch's own takes its flash kernels on a GPU by itself.
"""

import importlib.util
from typing import Any

import torch


def use_fused_kernels(model: Any) -> bool:
    """Swap norms, rotations and gates of a model on a GPU for Liger's; says whether it did.

    Its cross entropy stays out: our losses are over a list of responses.
    """
    on_gpu = next(model.parameters()).device.type == "cuda"
    if not on_gpu or importlib.util.find_spec("liger_kernel") is None:
        return False
    from liger_kernel.transformers import (  # noqa: PLC0415 - an extra
        _apply_liger_kernel_to_instance,
    )

    with torch.no_grad():
        _apply_liger_kernel_to_instance(
            model=model, cross_entropy=False, fused_linear_cross_entropy=False
        )
    return True
