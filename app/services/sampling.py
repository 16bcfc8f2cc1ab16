"""Which rows of a dataset a job uses: a seeded choice that anyone can repeat."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from app.core.spec.job import SampleSpec

MIN_PROMPTS = 2
"""With fewer different prompts nothing can be held out."""

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


def draw(seed: int, what: int | str) -> str:
    """Return the lot of a row or of anything else, in hexadecimal."""
    return hashlib.sha256(f"{seed}:{what}".encode()).hexdigest()


def split(rows: Sequence[tuple[int, str]], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Return the positions that train and those that validate, both in the dataset's order.

    Rows of one prompt stay together, so that no prompt is on both sides; by the smallest sha256 of
    seed and prompt, prompts are held out until the share of rows is reached.

    Args:
        rows: positions, each with something that is equal for equal prompts.
        share: of the rows that validate, above 0 and below 1.
        seed: of the choice.

    Raises:
        TooFewRows: one side would be empty.
    """
    prompts: dict[str, list[int]] = defaultdict(list)
    for position, prompt in rows:
        prompts[prompt].append(position)
    if len(prompts) < MIN_PROMPTS:
        raise TooFewRows(len(prompts))
    held: list[int] = []
    lots = sorted(prompts, key=lambda prompt: draw(seed, prompt))
    for prompt in lots[:-1]:
        if len(held) >= share * len(rows):
            break
        held += prompts[prompt]
    out = frozenset(held)
    return [position for position, _ in rows if position not in out], sorted(held)
