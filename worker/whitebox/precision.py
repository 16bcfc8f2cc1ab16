"""In which arithmetic the model runs: full float32, or bfloat16 products.

Under low-rank tuning a bfloat16 base is held in bfloat16 and only the adapters are float32; where
all weights are trained they stay float32 and their products are cast.
"""

from contextlib import AbstractContextManager
from typing import Any, Literal

import torch

Precision = Literal["float32", "bfloat16"]


def arithmetic(model: Any, precision: Precision) -> AbstractContextManager[object]:
    """A context that casts the products of a float32 model for `bfloat16`, else does nothing."""
    weight = next(model.parameters())
    cast = precision == "bfloat16" and weight.dtype == torch.float32
    return torch.autocast(weight.device.type, dtype=torch.bfloat16, enabled=cast)
