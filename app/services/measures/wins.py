"""Win, tie and loss between two contestants, and whether anybody won.

Every pair of answers is looked at in both orders. Looks that disagree make a tie; a look that could
not be read makes the pair invalid, which is neither. A winner is named only if the bootstrap
interval of win rate less loss rate excludes zero, the sign test agrees, nothing is missing, and
both would hold if every invalid pair had gone against the leader.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from app.services.measures.estimates import NOTHING, Estimate, resampled, sign_test

Verdict = Literal["left", "right", "tie", "invalid"]
WORTH: dict[Verdict, float] = {"left": 1.0, "tie": 0.0, "right": -1.0}
SIGNIFICANT = 0.05
RIDGE = 1e-2
CONVERGED = 1e-8
FIT_RESAMPLES = 400
"""Fewer than for means: each is a fit."""


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, looked at in both orders."""

    plain: Verdict
    swapped: Verdict
    longer: int
    """Characters of the left answer less those of the right one."""

    @property
    def verdict(self) -> Verdict:
        """What both looks say together."""
        if "invalid" in {self.plain, self.swapped}:
            return "invalid"
        return self.plain if self.plain == self.swapped else "tie"


@dataclass(frozen=True)
class Wins:
    """The left contestant's record against the right one."""

    win: int
    tie: int
    lose: int
    invalid: int
    rate: Estimate
    """Wins and half of the ties, as a share of what could be read."""
    gain: Estimate
    """Win rate less loss rate."""
    sign_test_p: float | None
    length_controlled: Estimate
    """The win rate that is left where both answers are of the same length."""
    position_consistency: float | None
    """Share of readable pairs in which both orders say the same."""
    winner: Literal["left", "right"] | None
    why: str


def wins(pairs: Sequence[Pair], expected: int, seed: int = 0) -> Wins:
    """Reckon the record; `expected` is how many pairs there should be."""
    verdicts = [pair.verdict for pair in pairs]
    readable = [pair for pair in pairs if pair.verdict != "invalid"]
    worths = np.array([WORTH[pair.verdict] for pair in readable])
    gain = resampled(worths, np.mean, seed)
    won, lost = verdicts.count("left"), verdicts.count("right")
    winner, why = _winner(verdicts, expected, gain, seed)
    return Wins(
        win=won,
        tie=verdicts.count("tie"),
        lose=lost,
        invalid=verdicts.count("invalid"),
        rate=_halved(gain),
        gain=gain,
        sign_test_p=sign_test(won, lost),
        length_controlled=length_controlled(readable, seed),
        position_consistency=_consistency(readable),
        winner=winner,
        why=why,
    )


def _halved(gain: Estimate) -> Estimate:
    """(1 + gain) / 2: wins and half of the ties."""
    if gain.value is None or gain.low is None or gain.high is None:
        return NOTHING
    return Estimate((1 + gain.value) / 2, (1 + gain.low) / 2, (1 + gain.high) / 2, gain.n)


def _consistency(readable: Sequence[Pair]) -> float | None:
    same = sum(pair.plain == pair.swapped for pair in readable)
    return same / len(readable) if readable else None


def _winner(
    verdicts: Sequence[Verdict], expected: int, gain: Estimate, seed: int
) -> tuple[Literal["left", "right"] | None, str]:
    if len(verdicts) < expected:
        return None, f"{expected - len(verdicts)} of {expected} pairs are not compared yet"
    if gain.value is None:
        return None, "no pair could be read"
    if not _excludes_zero(gain):
        return None, "the interval holds zero"
    leader: Literal["left", "right"] = "left" if gain.value > 0 else "right"
    if not _decided(verdicts, leader):
        return None, "the sign test says chance could do as much"
    against: Verdict = "right" if leader == "left" else "left"
    worst = [against if verdict == "invalid" else verdict for verdict in verdicts]
    worst_gain = resampled(np.array([WORTH[verdict] for verdict in worst]), np.mean, seed)
    if not (_excludes_zero(worst_gain) and _decided(worst, leader)):
        return None, "with the invalid pairs against the leader it would be undecided"
    return leader, "the interval excludes zero"


def _excludes_zero(gain: Estimate) -> bool:
    return gain.above(0) or (gain.high is not None and gain.high < 0)


def _decided(verdicts: Sequence[Verdict], leader: Verdict) -> bool:
    won, lost = verdicts.count("left"), verdicts.count("right")
    p = sign_test(won, lost)
    leads = won > lost if leader == "left" else lost > won
    return leads and p is not None and p < SIGNIFICANT


def length_controlled(readable: Sequence[Pair], seed: int = 0) -> Estimate:
    """The win rate at equal lengths, by a logistic regression on the difference in length.

    The difference enters as tanh(difference / its deviation), as in length-controlled AlpacaEval
    (Dubois et al. 2024); a tie counts as half a win.
    """
    if not readable:
        return NOTHING
    gaps = np.array([pair.longer for pair in readable], dtype=float)
    spread = gaps.std() or 1.0
    outcomes = np.array([(1 + WORTH[pair.verdict]) / 2 for pair in readable])
    items = np.column_stack([np.tanh(gaps / spread), outcomes])
    return resampled(items, _rate_at_equal_length, seed, times=FIT_RESAMPLES)


def _rate_at_equal_length(items: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> float:
    """Newton's method on two weights; a small ridge keeps separable data finite."""
    features = np.column_stack([np.ones(len(items)), items[:, 0]])
    outcomes, weights = items[:, 1], np.zeros(2)
    for _ in range(25):
        rate = 1 / (1 + np.exp(-np.clip(features @ weights, -30, 30)))
        slope = features.T @ (outcomes - rate) - RIDGE * weights
        bend = (features * (rate * (1 - rate))[:, None]).T @ features + RIDGE * np.eye(2)
        step = np.linalg.solve(bend, slope)
        weights += step
        if np.abs(step).max() < CONVERGED:
            break
    return float(1 / (1 + np.exp(-weights[0])))
