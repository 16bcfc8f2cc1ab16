"""How steady a run's judge is: its rankings beside those that it gave when it was asked again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.models import Job, RankingRow
from app.services.measures.estimates import Estimate, mean
from app.services.measures.rankings import Match, match

AGAIN, REVERSED = "again", "reversed"
Place = tuple[int, int]
"""Step and iteration."""


@dataclass(frozen=True)
class Steadiness:
    """New rankings beside the first ones."""

    asked: int
    unreadable: int
    exact: Estimate
    """Share in exactly the same order."""
    pairwise: Estimate
    """Pairs ordered alike: (Kendall's tau + 1) / 2."""
    top: Estimate
    """Share with the same best response."""


@dataclass(frozen=True)
class Consistency:
    """Self-consistency and position consistency of a run's judge."""

    again: Steadiness
    """The same question, for an answer of its own."""
    reversed: Steadiness
    """The responses in reverse."""


def consistency_report(session: Session, evaluation: Job, judged: str) -> Consistency:
    """Compare, place by place, what an evaluation's calls brought with the run's own rankings."""
    first = _rankings(session, judged, "align")
    again, turned = (_rankings(session, evaluation.id, stage) for stage in (AGAIN, REVERSED))
    return Consistency(
        again=_steadiness(first, again, evaluation.seed),
        reversed=_steadiness(first, turned, evaluation.seed),
    )


def _rankings(session: Session, job_id: str, stage: str) -> dict[Place, list[Any] | None]:
    query = select(RankingRow).where(RankingRow.job_id == job_id, RankingRow.stage == stage)
    rows = session.scalars(query)
    return {(row.step, row.iteration): row.first_ranked["black_box"] for row in rows}


def _steadiness(
    first: Mapping[Place, Sequence[Any] | None],
    second: Mapping[Place, Sequence[Any] | None],
    seed: int,
) -> Steadiness:
    found = [_match(first[place] or [], ranking) for place, ranking in second.items() if ranking]
    return Steadiness(
        asked=len(second),
        unreadable=len(second) - len(found),
        exact=mean([one.exact for one in found], seed),
        pairwise=mean([one.pairwise for one in found], seed),
        top=mean([one.top for one in found], seed),
    )


def _match(first: Sequence[Any], second: Sequence[Any]) -> Match:
    places = {item: -float(place) for place, group in enumerate(second) for item in group}
    return match(first, places)
