"""How the processes of a benchmark are started: this Python, this code, a number of threads."""

import os
import sys
from pathlib import Path

from worker.heap import VARIABLES

ROOT = Path(__file__).parents[1]


def command(module: str, *arguments: str) -> list[str]:
    """The command line of one of our modules."""
    return [sys.executable, "-m", module, *arguments]


def environment(threads: int) -> dict[str, str]:
    """The variables of a child: no network for models, a runner's heap, the workload's threads."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        **VARIABLES,
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRL_EXPERIMENTAL_SILENCE": "1",
    }
