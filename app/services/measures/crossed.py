"""Means over prompts that several runs answered, with intervals over both: runs and prompts.

The runs of a row differ by their seeds and share their prompts, so an interval over all items as if
they were independent would be too narrow. Both are drawn anew, with replacement (the pigeonhole
bootstrap, Owen 2007). With three seeds it is rough, and says what three seeds can say.
"""

import numpy as np
from numpy.typing import NDArray

from app.services.measures.estimates import LEVEL, NOTHING, RESAMPLES, Estimate

Table = NDArray[np.float64]
"""Runs down, prompts across; NaN where an answer is missing."""


def crossed_mean(values: Table, seed: int = 0) -> Estimate:
    """The mean of a table of runs by prompts."""
    present = ~np.isnan(values)
    if not present.any():
        return NOTHING
    counts, sums = _sums(seed, present.astype(np.float64), np.where(present, values, 0.0))
    return _estimate(_ratio(sums, counts), int(present.sum()))


def gain_at_equal_length(gains: Table, longer: Table, seed: int = 0) -> Estimate:
    """The mean gain that is left where both answers are of the same length.

    By least squares of the gain on the difference in length, as length-controlled AlpacaEval does
    for win rates (Dubois et al. 2024).
    """
    present = ~np.isnan(gains) & ~np.isnan(longer)
    if not present.any():
        return NOTHING
    gain, length = np.where(present, gains, 0.0), np.where(present, longer, 0.0)
    square: Table = length * length
    product: Table = gain * length
    sums = _sums(seed, present.astype(np.float64), gain, length, square, product)
    mean_gain, mean_length, squares, products = (_ratio(one, sums[0]) for one in sums[1:])
    spread = squares - mean_length**2
    together = products - mean_gain * mean_length
    slope = np.divide(together, spread, out=np.zeros_like(spread), where=spread > 1e-9 * squares)
    return _estimate(mean_gain - slope * mean_length, int(present.sum()))


def _sums(seed: int, *tables: Table) -> list[NDArray[np.float64]]:
    """Sum each table whole, and then once for each time that runs and prompts are drawn anew."""
    runs, prompts = tables[0].shape
    draw = np.random.default_rng(seed)
    of_runs = draw.multinomial(runs, np.full(runs, 1 / runs), RESAMPLES)
    of_prompts = draw.multinomial(prompts, np.full(prompts, 1 / prompts), RESAMPLES)
    whole = np.ones(runs)[None], np.ones(prompts)[None]
    weights = np.concatenate([whole[0], of_runs]), np.concatenate([whole[1], of_prompts])
    return [np.einsum("br,rp,bp->b", weights[0], one, weights[1], optimize=True) for one in tables]


def _ratio(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN where nothing was drawn that is present."""
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _estimate(found: NDArray[np.float64], n: int) -> Estimate:
    """The first value is that of the whole, the others are those of the draws."""
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(found[1:], [tail, 1 - tail])
    return Estimate(float(found[0]), float(low), float(high), n)
