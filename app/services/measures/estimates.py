"""Shares and means with their intervals; all at 95 % unless asked otherwise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A number, the interval around it, and how many items it rests on."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    def above(self, bound: float) -> bool:
        """Whether the whole interval lies above a bound."""
        return self.low is not None and self.low > bound


NOTHING = Estimate(None, None, None, 0)


def share(hits: float, n: int, level: float = LEVEL) -> Estimate:
    """A share with Wilson's interval; half hits count half and round the interval's count."""
    if n == 0:
        return NOTHING
    found = stats.binomtest(round(hits), n).proportion_ci(level, method="wilson")
    return Estimate(hits / n, float(found.low), float(found.high), n)


def share_of(hits: Sequence[float]) -> Estimate:
    """The share of items that hit: 1, or 0, or something between."""
    return share(sum(hits), len(hits))


def mean(values: Sequence[float], seed: int = 0, level: float = LEVEL) -> Estimate:
    """A mean with its bootstrap interval (percentiles of resampled items)."""
    return resampled(np.asarray(values, dtype=float), np.mean, seed, level)


def resampled(
    items: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]",
    statistic: Callable[..., float],
    seed: int = 0,
    level: float = LEVEL,
    times: int = RESAMPLES,
) -> Estimate:
    """Any statistic of items (along the first axis) with its bootstrap interval."""
    n = len(items)
    if n == 0:
        return NOTHING
    draw = np.random.default_rng(seed)
    found = [float(statistic(items[draw.integers(0, n, n)])) for _ in range(times)]
    tail = (1 - level) / 2
    low, high = np.nanquantile(found, [tail, 1 - tail])
    return Estimate(float(statistic(items)), float(low), float(high), n)


def sign_test(wins: int, losses: int) -> float | None:
    """Two-sided p of as uneven a split by chance; ties say nothing; None without a decision."""
    if wins + losses == 0:
        return None
    return float(stats.binomtest(wins, wins + losses).pvalue)
