"""What a contestant of an evaluation makes of given responses: rankings, choices, dialogues."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.models import DatasetRow, Job, JobPrompt, ScoreRow, run_rows
from app.services.measures.estimates import NOTHING, Estimate, resampled, share_of


@dataclass(frozen=True)
class GivenReport:
    """What one contestant makes of given responses."""

    items: int
    missing: int
    accuracy: Estimate
    """Share of rankings whose best response it values most; a tie for it counts half."""
    subsets: dict[str, Estimate]
    change: Estimate
    """Accuracy less that of the first contestant on the same items: its alignment tax."""
    perplexity: float | None
    """Of the best responses: exp of minus the mean over items of token-mean log-probabilities."""


@dataclass(frozen=True)
class _Item:
    subset: str | None
    best: frozenset[int]
    responses: int


def given_report(session: Session, job: Job, place: int) -> GivenReport:
    """Reckon the figures of the contestant at a place."""
    items = _items(session, job)
    values, first = (_values(session, job, who) for who in (place, 0))
    hits = _hits(items, values)
    by_subset: dict[str, list[float]] = defaultdict(list)
    for step, hit in hits.items():
        by_subset[items[step].subset or ""].append(hit)
    best = [values[step][min(items[step].best)] for step in hits]
    rewards = job.resolved["contestants"][place].get("reward_model", False)
    letters = job.resolved["given"]["form"] == "letters"
    ranks = any(len(item.best) < item.responses for item in items.values())
    return GivenReport(
        items=len(items),
        missing=len(items) - len(hits),
        accuracy=share_of([*hits.values()]) if ranks else NOTHING,
        subsets={name: share_of(found) for name, found in sorted(by_subset.items()) if name},
        change=_change(items, hits, first, job.seed) if place and ranks else NOTHING,
        perplexity=None if rewards or letters else _perplexity(best),
    )


def given_hits(session: Session, job: Job, place: int) -> dict[int, float]:
    """By item with a choice, whether the contestant at a place values the best response most."""
    items = _items(session, job)
    chosen = {step: item for step, item in items.items() if len(item.best) < item.responses}
    return _hits(chosen, _values(session, job, place))


def _hits(
    items: Mapping[int, _Item], values: Mapping[int, Mapping[int, float]]
) -> dict[int, float]:
    read = [step for step in items if len(values.get(step, {})) == items[step].responses]
    return {step: _hit(items[step], values[step]) for step in read}


def _items(session: Session, job: Job) -> dict[int, _Item]:
    query = run_rows(job.id, ["given"], JobPrompt.step, DatasetRow)
    return {
        step: _Item(row.subset, frozenset((row.ranking or [[]])[0]), len(row.responses or []))
        for step, row in session.execute(query)
    }


def _values(session: Session, job: Job, place: int) -> dict[int, dict[int, float]]:
    query = select(ScoreRow.step, ScoreRow.k, ScoreRow.value).where(
        ScoreRow.job_id == job.id, ScoreRow.stage == "given", ScoreRow.iteration == place
    )
    found: dict[int, dict[int, float]] = defaultdict(dict)
    for step, k, value in session.execute(query):
        found[step][k] = -math.inf if value is None else value
    return found


def _hit(item: _Item, values: Mapping[int, float]) -> float:
    top = max(values.values())
    likeliest = {k for k, value in values.items() if value == top}
    return len(likeliest & item.best) / len(likeliest)


def _change(
    items: Mapping[int, _Item],
    hits: Mapping[int, float],
    first: Mapping[int, Mapping[int, float]],
    seed: int,
) -> Estimate:
    both = [step for step in hits if len(first.get(step, {})) == items[step].responses]
    if not both:
        return NOTHING
    gains = [hits[step] - _hit(items[step], first[step]) for step in both]
    return resampled(np.asarray(gains), np.mean, seed)


def _perplexity(logprobs: Sequence[float]) -> float | None:
    return math.exp(-sum(logprobs) / len(logprobs)) if logprobs else None
