"""Agreement: the longest common subsequence of two rankings, highest black-box ranks first.

CycleAlign (section 3.2) speaks of permutations; here rankings may tie, and a chain then rises
strictly in both group orders. For permutations it is the paper's definition.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import factorial, prod

from worker.cycle.ranking import positions
from worker.cycle.types import Ranking


@dataclass(frozen=True)
class _Chain:
    """Ids that rise strictly in both rankings, with the groups they stand in."""

    ids: tuple[int, ...] = ()
    black: tuple[int, ...] = ()
    white: tuple[int, ...] = ()

    def preference(self) -> tuple[int, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Longest first, then highest in the black box, then in the white box, then lowest ids."""
        return (-len(self.ids), self.black, self.white, self.ids)


def agreement(black: Ranking, white: Ranking) -> tuple[int, ...]:
    """Return the ids on which both rankings agree, best to worst.

    Of all longest chains it is the one with the lexicographically smallest black-box groups, then
    white-box groups. A backward dynamic program in O(n^2) comparisons of chains.

    Raises:
        ValueError: the rankings are not of the same ids.
    """
    in_black, in_white = positions(black), positions(white)
    if in_black.keys() != in_white.keys():
        raise ValueError(f"rankings of different ids: {black} and {white}")
    chains: list[_Chain] = []
    for item in sorted(in_black, key=lambda i: in_black[i], reverse=True):
        chains.append(_best_chain_from(item, in_black[item], in_white[item], chains))
    return min(chains, key=_Chain.preference, default=_Chain()).ids


def _best_chain_from(item: int, black: int, white: int, chains: list[_Chain]) -> _Chain:
    """Put `item` before the best of the chains that begin strictly below it in both rankings."""
    below = (c for c in chains if c.black[0] > black and c.white[0] > white)
    rest = min(below, key=_Chain.preference, default=_Chain())
    return _Chain((item, *rest.ids), (black, *rest.black), (white, *rest.white))


def chance_baseline(n: int) -> dict[int, Fraction]:
    """Exact distribution of the agreement's length for two independent random strict rankings.

    By the Robinson-Schensted correspondence, n! P(length = k) is the sum of squared numbers of
    standard Young tableaux over the shapes of n boxes whose first row has k.
    """
    ways = dict.fromkeys(range(1, n + 1), 0)
    for shape in _shapes(n, n):
        ways[shape[0]] += _tableaux(shape) ** 2
    return {length: Fraction(count, factorial(n)) for length, count in ways.items()}


def _shapes(boxes: int, widest: int) -> list[tuple[int, ...]]:
    """Partitions of `boxes` into falling rows, none wider than `widest`; `()` for no boxes."""
    if boxes == 0:
        return [()]
    rows = range(min(boxes, widest), 0, -1)
    return [(row, *rest) for row in rows for rest in _shapes(boxes - row, row)]


def _tableaux(shape: tuple[int, ...]) -> int:
    """Number of standard Young tableaux of a shape, by the hook length formula."""
    columns = [sum(row > c for row in shape) for c in range(shape[0])]
    hooks = prod(row - c + columns[c] - r - 1 for r, row in enumerate(shape) for c in range(row))
    return factorial(sum(shape)) // hooks
