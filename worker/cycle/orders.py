"""The same candidates in several presentation orders, and what the verdicts come to.

The orders are cyclic shifts of the first: with as many orders as candidates each candidate stands
in every place once, so that a judge's liking for places falls on all alike. Verdicts are added up
by Borda's count. A verdict that is no ranking is left out; the others count, even one alone.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import TypeVar

from worker.cycle.ranking import from_scores, pairs_alike, relabel
from worker.cycle.types import Order, Ranked, Ranking, Verdict

T = TypeVar("T")


def shifted(items: Sequence[T], by: int) -> tuple[T, ...]:
    """Move the first so many items behind the others."""
    return (*items[by:], *items[:by])


def borda(rankings: Sequence[Ranking]) -> Ranking:
    """Rank ids by how many others they stand above, summed over all rankings; equal sums tie.

    A tie inside a ranking gives each of its ids half a point for each other one.

    Raises:
        ValueError: the rankings are not of the same ids.
    """
    counts = [_doubled_points(ranking) for ranking in rankings]
    if any(count.keys() != counts[0].keys() for count in counts):
        raise ValueError(f"rankings of different ids: {rankings}")
    total: Counter[int] = Counter()
    for count in counts:
        total.update(count)
    return from_scores(total)


def _doubled_points(ranking: Ranking) -> dict[int, int]:
    """Twice the points of each id, so that they are whole."""
    points: dict[int, int] = {}
    below = sum(map(len, ranking))
    for group in ranking:
        below -= len(group)
        points |= dict.fromkeys(group, 2 * below + len(group) - 1)
    return points


def aggregated(orders: Sequence[Order]) -> Verdict | None:
    """What the verdicts come to, in positions of the first order; None if nothing was asked.

    What a verdict says beyond its ranking is the first order's. If no order was ranked, so is all.
    """
    if not orders:
        return None
    first, said = orders[0], _rankings(orders)
    if len(orders) == 1 or not said:
        return first.verdict
    position = {k: place for place, k in enumerate(first.presented)}
    kept = first.verdict if isinstance(first.verdict, Ranked) else Ranked(())
    return replace(kept, ranking=relabel(borda(said), position))


def position_consistency(orders: Sequence[Order]) -> float | None:
    """How far the places of the candidates left the ranking as it was, from 0 to 1.

    The mean share of pairs that stand alike, over all pairs of orders; None with fewer than two
    orders that were ranked.
    """
    shares = [pairs_alike(one, other) for one, other in combinations(_rankings(orders), 2)]
    return sum(shares) / len(shares) if shares else None


def _rankings(orders: Sequence[Order]) -> list[Ranking]:
    return [order.black for order in orders if order.black is not None]
