"""Means over prompts that several runs answered, with intervals over both: runs and prompts.

The runs of a row differ by their seeds and share their prompts, so an interval over all items as if
they were independent would be too narrow. Both are drawn anew, with replacement (the pigeonhole
bootstrap, Owen 2007). With three seeds it is rough, and says what three seeds can say.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from app.services.measures.estimates import LEVEL, NOTHING, RESAMPLES, Estimate

Table = NDArray[np.float64]
"""Runs down, prompts across; NaN where an answer is missing."""


def crossed_mean(values: Table, seed: int = 0) -> Estimate:
    """The mean of a table of runs by prompts."""
    return _crossed(values[..., None], _mean, seed)


def gain_at_equal_length(gains: Table, longer: Table, seed: int = 0) -> Estimate:
    """The mean gain that is left where both answers are of the same length.

    By least squares of the gain on the difference in length, as length-controlled AlpacaEval does
    for win rates (Dubois et al. 2024).
    """
    return _crossed(np.stack([gains, longer], axis=-1), _intercept, seed)


def _crossed(
    items: Table,
    statistic: Callable[[Table], float],
    seed: int,
) -> Estimate:
    runs, prompts, width = items.shape
    whole = _present(items.reshape(-1, width))
    if not len(whole):
        return NOTHING
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(RESAMPLES):
        drawn = items[draw.integers(0, runs, runs)][:, draw.integers(0, prompts, prompts)]
        found.append(statistic(_present(drawn.reshape(-1, width))))
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(found, [tail, 1 - tail])
    return Estimate(statistic(whole), float(low), float(high), len(whole))


def _present(
    items: Table,
) -> Table:
    return items[~np.isnan(items).any(axis=1)]


def _mean(items: Table) -> float:
    return float(items[:, 0].mean()) if len(items) else float("nan")


def _intercept(items: Table) -> float:
    if not len(items):
        return float("nan")
    gain, longer = items.mean(axis=0)
    spread = ((items[:, 1] - longer) ** 2).mean()
    together = ((items[:, 0] - gain) * (items[:, 1] - longer)).mean()
    slope = together / spread if spread else 0.0
    return float(gain - slope * longer)
