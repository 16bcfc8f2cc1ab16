"""The runner's heap, in a process that takes and frees as a training pass does."""

import os
import platform
import subprocess
import sys

import pytest

from worker.heap import VARIABLES

PASSES = """
import ctypes, resource
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
size, pieces = 1 << 20, 64

def training_pass():
    held = [libc.malloc(size) for _ in range(pieces)]
    for piece in held:
        ctypes.memset(piece, 1, size)
    for piece in reversed(held):
        libc.free(piece)

training_pass()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
training_pass()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 64 * 256
"""In what a pass holds, of four kilobytes."""


def _faults(variables: dict[str, str]) -> int:
    command = [sys.executable, "-c", PASSES]
    env = {name: value for name, value in os.environ.items() if name not in VARIABLES} | variables
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc reads the variables")
def test_a_second_pass_finds_the_memory_of_the_first() -> None:
    assert _faults(VARIABLES) < PAGES / 100
    assert _faults({}) > PAGES / 10
