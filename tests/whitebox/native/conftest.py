"""Where these tests can run, and random numbers for them."""

import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from worker.whitebox.native.library import library

Draw = Callable[..., Tensor]


def _lacks() -> str:
    """What the kernels need and this machine lacks; nothing if they must be here."""
    about = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not about.exists() or "avx512bw" not in about.read_text():
        return "a CPU with AVX-512"
    return "" if library() or shutil.which("cc") or shutil.which("gcc") else "a C compiler"


@pytest.fixture(autouse=True)
def _kernels() -> None:
    lacking = _lacks()
    if lacking:
        pytest.skip(f"the kernels need {lacking}")
    assert library() is not None, "installing the project made no kernels: `pip install -v .`"


@pytest.fixture
def draw() -> Draw:
    """Normal numbers, the same in every run."""
    generator = torch.Generator().manual_seed(7)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return numbers


def close(ours: Tensor, theirs: Tensor, within: float = 1e-5) -> bool:
    """Whether float32 numbers are as close to float64 ones as rounding lets them."""
    return bool((ours - theirs).abs().max() <= within * (1 + theirs.abs().max()))
