"""How well a reward model orders the pairs that it never trained on.

Beside it stand the model before training, and the length of the texts alone, in the direction that
was right more often on the training rows; a reward model that is no better has learnt little else.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.models import DatasetRow, Job, JobPrompt, ScoreRow, run_rows
from app.services.measures.calibration import Bin, bins, expected_error
from app.services.measures.estimates import NOTHING, Estimate, resampled, share_of

GAPS = (10, 50, 100, 200)
"""Bounds between groups of pairs, by the difference of their lengths in characters."""


@dataclass(frozen=True)
class Pair:
    """Two texts of a row, the first of which was preferred."""

    step: int
    better: int
    worse: int
    """Their places in the row."""
    longer: int
    """Characters of the better less those of the worse."""


@dataclass(frozen=True)
class GapAccuracy:
    """Accuracy on pairs whose lengths differ by `low` to `high` characters; `high` may be open."""

    low: int
    high: int | None
    accuracy: Estimate
    length_only: Estimate


@dataclass(frozen=True)
class RewardReport:
    """The figures of one reward model; a tie of rewards counts as half right."""

    pairs: int
    trained_rows: int
    accuracy: Estimate
    untrained: Estimate
    length_only: Estimate
    length_prefers: Literal["longer", "shorter"]
    above_length_only: Estimate
    """Accuracy less that of length, on the same pairs, with its bootstrap interval."""
    by_length_gap: list[GapAccuracy]
    calibration_error: float | None
    calibration: list[Bin]


def reward_report(session: Session, job: Job) -> RewardReport:
    """Reckon the report; raises nothing for a job that has not measured yet: shares of nothing."""
    pairs = list(_pairs(session, job, "validation"))
    direction = _direction(list(_pairs(session, job, "align")))
    after, before = (_values(session, job, f"validation_{when}") for when in ("after", "before"))
    right = _hits(pairs, after)
    by_length = [_half(direction * pair.longer) for pair in pairs]
    reliability = _reliability(pairs, after)
    return RewardReport(
        pairs=len(pairs),
        trained_rows=job.steps_total,
        accuracy=share_of(right),
        untrained=share_of(_hits(pairs, before)),
        length_only=share_of(by_length),
        length_prefers="longer" if direction > 0 else "shorter",
        above_length_only=_gain(right, by_length, job.seed),
        by_length_gap=_by_gap(pairs, right, by_length) if right else [],
        calibration_error=expected_error(reliability),
        calibration=reliability,
    )


def _pairs(session: Session, job: Job, stage: str) -> Iterator[Pair]:
    query = run_rows(job.id, [stage], JobPrompt.step, DatasetRow.responses, DatasetRow.ranking)
    for step, responses, ranking in session.execute(query):
        for high, group in enumerate(ranking):
            for better in group:
                for worse in (k for low in ranking[high + 1 :] for k in low):
                    yield Pair(step, better, worse, len(responses[better]) - len(responses[worse]))


def _values(session: Session, job: Job, stage: str) -> dict[tuple[int, int], float]:
    query = select(ScoreRow.step, ScoreRow.k, ScoreRow.value).where(
        ScoreRow.job_id == job.id, ScoreRow.stage == stage
    )
    found = session.execute(query)
    return {(step, k): math.nan if value is None else value for step, k, value in found}


def _direction(trained: Sequence[Pair]) -> int:
    return 1 if sum(_half(pair.longer) for pair in trained) * 2 >= len(trained) else -1


def _half(margin: float) -> float:
    return 0.5 if margin == 0 else float(margin > 0)


def _margin(pair: Pair, values: dict[tuple[int, int], float]) -> float:
    return values[pair.step, pair.better] - values[pair.step, pair.worse]


def _hits(pairs: Sequence[Pair], values: dict[tuple[int, int], float]) -> list[float]:
    """Empty until the rows are valued; a reward that is no number is wrong."""
    return [_half(_margin(pair, values)) for pair in pairs] if values else []


def _gain(right: Sequence[float], by_length: Sequence[float], seed: int) -> Estimate:
    if not right:
        return NOTHING
    return resampled(np.asarray(right) - np.asarray(by_length), np.mean, seed)


def _by_gap(
    pairs: Sequence[Pair], right: Sequence[float], by_length: Sequence[float]
) -> list[GapAccuracy]:
    found: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for pair, hit, length in zip(pairs, right, by_length, strict=True):
        found[sum(abs(pair.longer) >= bound for bound in GAPS)].append((hit, length))
    lows, highs = (0, *GAPS), (*GAPS, None)
    return [
        GapAccuracy(
            lows[place],
            highs[place],
            share_of([hit for hit, _ in items]),
            share_of([length for _, length in items]),
        )
        for place, items in sorted(found.items())
    ]


def _reliability(pairs: Sequence[Pair], values: dict[tuple[int, int], float]) -> list[Bin]:
    """The probability that Bradley and Terry give the likelier text, and whether it was right."""
    if not values:
        return []
    margins = [margin for pair in pairs if not math.isnan(margin := _margin(pair, values))]
    sure = [(1 + math.tanh(abs(margin) / 2)) / 2 for margin in margins]
    return bins(sure, [margin > 0 for margin in margins])
