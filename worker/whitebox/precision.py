"""In which arithmetic the model runs: full float32, or bfloat16 products over float32 weights."""

from contextlib import AbstractContextManager
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]


def arithmetic(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """A context that autocasts matrix products for `bfloat16`, and does nothing for `float32`."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
