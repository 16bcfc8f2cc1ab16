"""Which rows of a dataset a job uses: a seeded choice that anyone can repeat."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from app.core.spec.job import SampleSpec

Place = tuple[int, str | None]
"""A row's position in its dataset and its subset."""


class TooFewRows(Exception):
    """A sample asks for more rows than there are; `rows` is how many there are."""

    def __init__(self, rows: int) -> None:
        super().__init__(f"there are {rows} rows")
        self.rows = rows


def choose(rows: Iterable[Place], sample: SampleSpec | None) -> list[int]:
    """Return the chosen positions in the dataset's order; raises `TooFewRows`.

    The rows with the smallest sha256 of seed and position are taken, so that a larger sample of
    the same seed holds the smaller one.
    """
    if sample is None:
        return [position for position, _ in rows]
    pools: dict[str | None, list[int]] = defaultdict(list)
    for position, subset in rows:
        pools[subset if sample.per_subset else None].append(position)
    if not pools:
        raise TooFewRows(0)
    return sorted(place for pool in pools.values() for place in _smallest(pool, sample))


def _smallest(pool: Sequence[int], sample: SampleSpec) -> list[int]:
    if len(pool) < sample.n:
        raise TooFewRows(len(pool))
    return sorted(pool, key=lambda position: draw(sample.seed, position))[: sample.n]


def draw(seed: int, position: int) -> str:
    """Return the row's lot."""
    return hashlib.sha256(f"{seed}:{position}".encode()).hexdigest()
