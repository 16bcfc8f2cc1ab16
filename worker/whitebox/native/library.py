"""Finds the compiled kernels: `pip install` makes them where it finds a C compiler.

They need AVX-512; without it, or without a compiler, everything is computed by torch.
"""

import ctypes
from ctypes import POINTER, Structure, c_double, c_float, c_int, c_long, c_void_p
from functools import cache
from importlib.util import find_spec
from typing import ClassVar

import torch
from torch import Tensor

MODULE = "worker.whitebox.native._kernels"
"""A library of plain functions: it is found as a module, and never imported."""
LANE = 16
"""Numbers that a kernel takes at once."""


class StepCall(Structure):
    """`struct step` of step.c."""

    _fields_: ClassVar = [
        *((name, c_long) for name in ("rows", "heads", "shared", "size")),
        *(("scale", c_float), ("wide", c_void_p)),
        *((name, c_void_p) for name in ("own_keys", "own_values")),
        *((name, c_long) for name in ("own_row", "own_head", "length")),
        *((name, c_void_p) for name in ("keys", "values")),
        *((name, c_long) for name in ("prompt_row", "prompt_head", "prompt_tokens")),
        *((name, c_void_p) for name in ("slot", "prompt", "start", "out")),
    ]


class AdaptersCall(Structure):
    """`struct adapters` of adapters.c."""

    _fields_: ClassVar = [
        *((name, c_long) for name in ("tokens", "inner", "outer", "count", "rank")),
        *(("scale", c_float), ("sizes", POINTER(c_long))),
        *((name, POINTER(c_void_p)) for name in ("a", "b")),
        ("panels", c_void_p),
    ]


class TreeCall(Structure):
    """`struct tree` of tree.h."""

    _fields_: ClassVar = [
        *((name, c_long) for name in ("tokens", "heads", "shared", "size", "segments", "prompt")),
        *(("scale", c_float), ("start", POINTER(c_long)), ("wide", c_void_p)),
    ]


ARGUMENTS = {
    "by_panels": (*[c_long] * 3, *[c_void_p] * 4, c_int),
    "attend_step": (POINTER(StepCall), c_int),
    "summed": (*[c_long] * 3, *[c_void_p] * 3, c_float, c_void_p, c_int),
    "adapters_forward": (POINTER(AdaptersCall), *[c_void_p] * 3, c_int),
    "adapters_back": (POINTER(AdaptersCall), *[c_void_p] * 6, c_int),
    "tree_forward": (POINTER(TreeCall), c_void_p, c_void_p, c_int),
    "tree_back": (POINTER(TreeCall), *[c_void_p] * 4, c_int),
    "norm": (c_long, c_long, c_void_p, c_void_p, c_float, c_void_p, c_void_p, c_int),
    "norm_back": (c_long, c_long, *[c_void_p] * 6, c_int),
    "gate": (c_long, c_long, c_void_p, c_void_p, c_int),
    "gate_back": (c_long, c_long, c_void_p, c_void_p, c_void_p, c_int),
    "turn": (*[c_long] * 3, c_void_p, c_long, c_void_p, c_void_p, c_long, c_float, c_int),
    "soften": (c_long, c_long, c_void_p, c_void_p, c_void_p, c_int),
    "draw": (c_long, c_long, c_void_p, c_void_p, c_float, c_double, c_void_p, c_void_p, c_int),
}


@cache
def library() -> ctypes.CDLL | None:
    """The kernels, or None where there are none or the CPU can't run them."""
    found = find_spec(MODULE)
    if found is None or found.origin is None:
        return None
    opened = ctypes.CDLL(found.origin)
    for name, arguments in ARGUMENTS.items():
        getattr(opened, name).argtypes = arguments
    return opened if opened.usable() else None


def usable_for(tensor: Tensor) -> bool:
    """Whether there are kernels for numbers of this kind, where they lie."""
    kind = tensor.dtype == torch.float32 and tensor.device.type == "cpu"
    return kind and library() is not None


def needed() -> ctypes.CDLL:
    """The kernels, for a caller that has asked whether there are any."""
    found = library()
    assert found is not None
    return found
