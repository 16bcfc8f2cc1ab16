"""The systems under measurement: `run(workload, judge_url, **options) -> Measured` each.

A name is a module and options: `engine:k=16,tree=1` calls `engine.run(..., k="16", tree="1")`.
"""

import importlib
import inspect
from collections.abc import Callable
from functools import partial

from benchmarks.workload import Measured, Workload

MODULES = {"grpo": "trl_grpo", "online_dpo": "trl_online_dpo"}
"""Names that differ from their module's."""

Run = Callable[[Workload, str], Measured]


class UnavailableError(Exception):
    """The system cannot run here, for the reason given; a benchmark goes on without it."""


def parse(name: str) -> tuple[str, dict[str, str]]:
    """Split a system's name into its module's name and its options.

    Raises:
        ValueError: an option has no value.
    """
    kind, _, rest = name.partition(":")
    pairs = [option.partition("=") for option in filter(None, rest.split(","))]
    if any(not value for _, _, value in pairs):
        raise ValueError(f"{name}: an option is written name=value")
    return MODULES.get(kind, kind), {option: value for option, _, value in pairs}


def find(name: str) -> Run:
    """The system of this name, its options bound.

    Raises:
        ValueError: there is no such system, or it has no such option.
    """
    kind, options = parse(name)
    try:
        module = importlib.import_module(f"benchmarks.systems.{kind}")
    except ModuleNotFoundError as error:
        raise ValueError(f"no system {name!r}: {error}") from error
    run = partial(module.run, **options)
    try:
        inspect.signature(run).bind(None, "")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error
    return run
