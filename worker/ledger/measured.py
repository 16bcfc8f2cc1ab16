"""What is measured without learning from it, as table rows; nothing here touches a session."""

from collections.abc import Sequence
from typing import assert_never

from app.core.models import Base, ComparisonRow, Job, RankingRow, Response, ScoreRow
from worker.cycle.events import Answered, AskedAgain, Compared, Rated, Scored, Valued
from worker.cycle.ranking import relabel
from worker.cycle.types import Ranked
from worker.ledger.rows import fault_of, finite, judged, key_of, raw_of, response

Measured = Scored | Valued | Answered | Rated | Compared | AskedAgain


def measured(job: Job, event: Measured) -> Sequence[Base]:
    """Return all rows of one event."""
    match event:
        case Scored():
            return scored(job, event)
        case Valued():
            return valued(job, event)
        case Answered():
            return answered(job, event)
        case Rated():
            return rated(job, event)
        case Compared():
            return [compared(job, event)]
        case AskedAgain():
            return [asked_again(job, event)]
        case _:
            assert_never(event)


def scored(job: Job, event: Scored) -> list[Response]:
    """Return the held-out samples of one prompt with their scores."""
    round_ = job.round + 1 if event.at.stage == "held_out_after" else 0
    found = [response(job, event.at, k, round_, s) for k, s in enumerate(event.samples)]
    for k, score, why in judged(event.verdict, tuple(range(len(found)))):
        found[k].score, found[k].why = score, why
    return found


def valued(job: Job, event: Valued) -> list[ScoreRow]:
    """Return what the run's own model makes of the responses of one row."""
    round_ = job.round + 1 if event.at.stage.endswith("_after") else 0
    return [
        ScoreRow(
            **key_of(job, event.at),
            k=k,
            scorer="self",
            round=round_,
            update=job.update,
            value=finite(value),
        )
        for k, value in enumerate(event.values)
    ]


def answered(job: Job, event: Answered) -> list[Response]:
    """Return a contestant's answers to one prompt."""
    return [response(job, event.at, k, 1, sample) for k, sample in enumerate(event.samples)]


def rated(job: Job, event: Rated) -> list[ScoreRow]:
    """Return a scorer's scores of them; none where the scorer's reply could not be used."""
    return [
        ScoreRow(
            **key_of(job, event.at),
            k=k,
            scorer=event.scorer,
            round=1,
            update=0,
            value=finite(score),
        )
        for k, score in enumerate(event.scores)
    ]


def compared(job: Job, event: Compared) -> ComparisonRow:
    """Return one look at two answers, with its scores in the order of left and right."""
    ranked = event.verdict if isinstance(event.verdict, Ranked) else None
    scores = [10 * score for score in ranked.scores] if ranked and ranked.scores else None
    return ComparisonRow(
        **key_of(job, event.at),
        round=1,
        left=event.left,
        right=event.right,
        swapped=event.swapped,
        verdict=_preferred(ranked, swapped=event.swapped),
        scores=scores[::-1] if scores and event.swapped else scores,
        fault=fault_of(event.verdict),
        raw_reply=raw_of(event.verdict),
        why=dict(ranked.why) if ranked and ranked.why else None,
    )


def _preferred(ranked: Ranked | None, *, swapped: bool) -> str:
    if ranked is None:
        return "invalid"
    [best, *_] = ranked.ranking
    if len(best) > 1:
        return "tie"
    return "right" if (best[0] == 1) != swapped else "left"


def asked_again(job: Job, event: AskedAgain) -> RankingRow:
    """Return a judge's new ranking of another run's samples, by their indices there."""
    ranked = event.verdict if isinstance(event.verdict, Ranked) else None
    groups = relabel(ranked.ranking, event.presented) if ranked else None
    return RankingRow(
        **key_of(job, event.at),
        round=1,
        outcome="asked_again",
        white_box=[],
        black_box=None if groups is None else [list(group) for group in groups],
        presented=list(event.presented),
        fault=fault_of(event.verdict),
        raw_reply=raw_of(event.verdict),
    )
