"""How well one ranking of responses matches another: exactly, pair by pair, at the top."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

Groups = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Match:
    """A judge's ranking beside scores of the same responses."""

    exact: bool
    """Whether the scores give the same order, ties included."""
    pairwise: float
    """(Kendall's tau + 1) / 2: pairs ordered alike, a tie on one side counting half."""
    top: float
    """Whether the best response is the judge's best; shared places count their share."""


def match(ranking: Groups, scores: Mapping[int, float]) -> Match:
    """Compare a ranking, best to worst with ties as groups, with scores, higher being better.

    Raises:
        KeyError: a ranked response has no score.
    """
    place = {item: group for group, items in enumerate(ranking) for item in items}
    pairs = [
        _alike(place[one] - place[two], scores[two] - scores[one]) for one, two in _pairs(place)
    ]
    highest = max(scores[item] for item in place)
    best = {item for item in place if scores[item] == highest}
    return Match(
        exact=all(alike == 1.0 for alike in pairs),
        pairwise=sum(pairs) / len(pairs) if pairs else 1.0,
        top=len(best & set(ranking[0])) / len(best | set(ranking[0])),
    )


def _pairs(place: Mapping[int, int]) -> Sequence[tuple[int, int]]:
    return list(combinations(sorted(place), 2))


def _alike(one: float, other: float) -> float:
    """1 for the same order of a pair (or both tied), 0 for the opposite one, else a half."""
    if (one > 0) == (other > 0) and (one < 0) == (other < 0):
        return 1.0
    return 0.5 if one == 0 or other == 0 else 0.0
