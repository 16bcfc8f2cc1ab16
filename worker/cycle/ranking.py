"""Rankings as groups of ids, best to worst: making, checking, renaming and comparing them."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, combinations, groupby

from worker.cycle.types import Ranking


def from_scores(scores: Mapping[int, float]) -> Ranking:
    """Rank ids by score, highest first; equal scores tie, and a group lists its ids rising.

    Raises:
        ValueError: a score is not a number, so that nothing can be ranked.
    """
    if any(math.isnan(score) for score in scores.values()):
        raise ValueError(f"cannot rank scores that are not numbers: {dict(scores)}")
    order = sorted(scores, key=lambda item: (-scores[item], item))
    return tuple(tuple(group) for _, group in groupby(order, key=scores.__getitem__))


def flatten(ranking: Ranking) -> tuple[int, ...]:
    """List the ids best to worst, the members of a tie as they stand in their group."""
    return tuple(chain.from_iterable(ranking))


def positions(ranking: Ranking) -> dict[int, int]:
    """Map each id to its group's position, 0 the best."""
    return {item: place for place, group in enumerate(ranking) for item in group}


def is_ranking_of(ranking: Ranking, ids: Collection[int]) -> bool:
    """Whether every id stands in exactly one group, and no group is empty."""
    return all(ranking) and sorted(flatten(ranking)) == sorted(ids)


def relabel(ranking: Ranking, names: Sequence[int] | Mapping[int, int]) -> Ranking:
    """Replace each item by `names[item]`; groups list their new names rising.

    With `names` the order of presentation, it turns presented positions into sample indices.
    """
    return tuple(tuple(sorted(names[item] for item in group)) for group in ranking)


def orders_a_pair(ranking: Ranking) -> bool:
    """Whether any id stands strictly above another."""
    return sum(1 for group in ranking if group) > 1


def opposed_pairs(one: Ranking, other: Ranking) -> int:
    """Count the pairs that each ranking orders strictly, in opposite ways."""
    return sum(1 for product in _pair_products(one, other) if product < 0)


def ordered_pairs(one: Ranking, other: Ranking) -> int:
    """Count the pairs that both rankings order strictly, in the same way."""
    return sum(1 for product in _pair_products(one, other) if product > 0)


def same_order(one: Ranking, other: Ranking) -> bool:
    """The stop test of a step: no pair is opposed and at least one is ordered.

    For rankings without ties it is equality, as in CycleAlign section 4.5.
    """
    return not opposed_pairs(one, other) and ordered_pairs(one, other) > 0


def kendall_tau(one: Ranking, other: Ranking) -> float:
    """Kendall's tau-a in [-1, 1]: (ordered - opposed) / all pairs; a tied pair counts as zero.

    Raises:
        ValueError: fewer than two ids, or not the same ids in both.
    """
    products = list(_pair_products(one, other))
    if not products:
        raise ValueError("a rank correlation needs two ids or more")
    return (sum(p > 0 for p in products) - sum(p < 0 for p in products)) / len(products)


def pairs_alike(one: Ranking, other: Ranking) -> float:
    """Share of the pairs that stand alike in both, ties among them; a tie in one counts half.

    Without ties it is (Kendall's tau + 1) / 2.

    Raises:
        ValueError: fewer than two ids, or not the same ids in both.
    """
    pairs = list(_pair_distances(one, other))
    if not pairs:
        raise ValueError("a comparison by pairs needs two ids or more")
    return sum(1 - abs(_sign(a) - _sign(b)) / 2 for a, b in pairs) / len(pairs)


def _sign(distance: int) -> int:
    return (distance > 0) - (distance < 0)


def _pair_products(one: Ranking, other: Ranking) -> Iterator[int]:
    """One number a pair: positive if ordered alike, negative if opposed, zero if tied in either."""
    return (a * b for a, b in _pair_distances(one, other))


def _pair_distances(one: Ranking, other: Ranking) -> Iterator[tuple[int, int]]:
    """How far apart the two of each pair stand in both rankings, in groups."""
    first, second = positions(one), positions(other)
    if first.keys() != second.keys():
        raise ValueError(f"rankings of different ids: {one} and {other}")
    for i, j in combinations(first, 2):
        yield first[i] - first[j], second[i] - second[j]
