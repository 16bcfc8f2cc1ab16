"""Whether a probability means what it says: bins of confidence beside the share that was right."""

from collections.abc import Sequence
from dataclasses import dataclass

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Items whose confidence lies between two bounds."""

    low: float
    high: float
    n: int
    confidence: float
    right: float


def bins(confidences: Sequence[float], right: Sequence[bool]) -> list[Bin]:
    """Ten bins from 0.5 to 1, those with items; of two answers the likelier has at least half."""
    width = 0.5 / BINS
    found: dict[int, list[tuple[float, bool]]] = {}
    for confidence, hit in zip(confidences, right, strict=True):
        place = min(BINS - 1, int((confidence - 0.5) / width))
        found.setdefault(place, []).append((confidence, hit))
    return [
        Bin(
            0.5 + place * width,
            0.5 + (place + 1) * width,
            len(items),
            sum(confidence for confidence, _ in items) / len(items),
            sum(hit for _, hit in items) / len(items),
        )
        for place, items in sorted(found.items())
    ]


def expected_error(found: Sequence[Bin]) -> float | None:
    """The expected calibration error (Guo et al. 2017): the mean gap, weighted by items."""
    n = sum(one.n for one in found)
    return sum(one.n * abs(one.confidence - one.right) for one in found) / n if n else None
