"""Promises held against what was found, as a short table."""

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Promise:
    """One promise, what was found, and whether it was kept."""

    name: str
    found: str
    kept: bool = True


def broken(promises: Iterable[Promise]) -> list[str]:
    """Name the promises that were not kept."""
    return [promise.name for promise in promises if not promise.kept]


def show(promises: Iterable[Promise]) -> int:
    """Print the table; return the exit code, 1 if a promise is broken."""
    code = 0
    for promise in promises:
        mark = "" if promise.kept else "  BROKEN"
        sys.stdout.write(f"{promise.name:44} {promise.found}{mark}\n")
        code = code if promise.kept else 1
    return code


def at_most(name: str, bound: float, values: Sequence[float]) -> Promise:
    """No value is above the bound, and there are some; all in seconds."""
    if not values:
        return Promise(name, "nothing was measured", kept=False)
    spread = "  ".join(f"{label} {share(values, q):.2f}" for label, q in SHARES.items())
    return Promise(name, f"{spread}  (n {len(values)}, bound {bound:g})", max(values) <= bound)


def none_of(name: str, faults: Sequence[object]) -> Promise:
    """Nothing of the kind was found."""
    return Promise(name, f"{len(faults)} {list(faults)[:3] if faults else ''}", not faults)


SHARES = {"p50": 0.5, "p95": 0.95, "max": 1.0}


def share(values: Sequence[float], q: float) -> float:
    """Return the least value that at least a share q of them does not exceed."""
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
