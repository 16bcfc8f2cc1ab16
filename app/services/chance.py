"""How long an agreement is by chance: what a mean agreement should be compared with."""

from collections.abc import Iterator
from functools import cache
from math import factorial, prod


def partitions(total: int, largest: int | None = None) -> Iterator[tuple[int, ...]]:
    """Yield the ways to write a number as falling parts."""
    if total == 0:
        yield ()
    for part in range(min(total, largest or total), 0, -1):
        for rest in partitions(total - part, part):
            yield (part, *rest)


def _tableaux(shape: tuple[int, ...]) -> int:
    """Count the standard Young tableaux of a shape by the hook lengths of its cells."""
    legs = [sum(row > column for row in shape) for column in range(shape[0])]
    hooks = (
        (row - column) + (legs[column] - index) - 1
        for index, row in enumerate(shape)
        for column in range(row)
    )
    return factorial(sum(shape)) // prod(hooks)


@cache
def chance_length(candidates: int) -> float:
    """Return the mean length of the agreement of two unrelated strict orders of n candidates.

    That is the mean longest increasing subsequence of a random permutation. By the
    Robinson-Schensted correspondence it is the sum over shapes of first row times squared number
    of tableaux, over n! (Schensted 1961).
    """
    if candidates < 1:
        return 0.0
    weighted = sum(shape[0] * _tableaux(shape) ** 2 for shape in partitions(candidates))
    return weighted / factorial(candidates)
