"""How long each response is: one law for all systems, since random models never end by themselves.

A length depends on nothing but the seed and the response's place, so that every system and every
schedule decodes the same amounts of the same unevenness.
"""

import math
from statistics import NormalDist

from worker.cycle.seeds import derive

SIGMA = 0.4
"""Spread of the logarithm of a length."""
SHORTEST = 4

_RANGE = float(2**63)  # of `derive`


def uniform(seed: int, *parts: str | int) -> float:
    """A number in the open interval (0, 1) that depends on seed and parts alone."""
    return (derive(seed, *parts) + 0.5) / _RANGE


def log_normal(mean: float, sigma: float, at: float) -> float:
    """The quantile `at`, in (0, 1), of the log-normal law with this mean.

    `sigma` is the standard deviation of the logarithm.
    """
    return mean * math.exp(sigma * NormalDist().inv_cdf(at) - sigma**2 / 2)


def response_length(seed: int, prompt: int, iteration: int, candidate: int, mean: int) -> int:
    """Tokens of one response, its end token included: log-normal, clipped to [4, 2 * mean]."""
    at = uniform(seed, "length", prompt, iteration, candidate)
    return min(max(round(log_normal(mean, SIGMA, at)), SHORTEST), 2 * mean)
