"""From a run's rows to what users see of them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from app.api.lines import Show
from app.api.schemas_runs import (
    AgreementOut,
    CheckpointOut,
    DemonstrationOut,
    EventOut,
    JudgeCallOut,
    ListedResponseOut,
    PointsOut,
    RankingOut,
    ResponseOut,
    SeriesOut,
)
from app.core.models import (
    AgreementRow,
    Checkpoint,
    DemonstrationRow,
    Job,
    JobEvent,
    JudgeCall,
    JudgeQuestion,
    RankingRow,
    Response,
)
from app.services import runs
from app.services.chance import chance_length
from app.services.metrics import MEANING, Series

_ASKED = (
    *("question_sha256", "judge", "state", "reply", "finish", "reason", "detail", "model"),
    *("fingerprint", "tokens_in", "cached_tokens_in", "tokens_out", "cost_micros", "currency"),
)


def events(_: Session, rows: Sequence[JobEvent]) -> list[EventOut]:
    """Show events."""
    return [EventOut.model_validate(row) for row in rows]


def responses(job: Job) -> Show[Response, ListedResponseOut]:
    """Show responses with the prompts that they answer, looked up for a whole page at once."""

    def show(session: Session, rows: Sequence[Response]) -> list[ListedResponseOut]:
        prompts = runs.prompts_at(session, job, [(row.stage, row.step) for row in rows])
        return [
            ListedResponseOut(
                **_same(row, ListedResponseOut, {"prompt"}), prompt=prompts[row.stage, row.step]
            )
            for row in rows
        ]

    return show


def rankings(job: Job) -> Show[RankingRow, RankingOut]:
    """Show rankings with their prompts and responses, looked up for a whole page at once."""

    def show(session: Session, rows: Sequence[RankingRow]) -> list[RankingOut]:
        places = [(row.stage, row.step, row.iteration) for row in rows]
        prompts = runs.prompts_at(session, job, [(stage, step) for stage, step, _ in places])
        found = runs.responses_at(session, job, places)
        return [
            RankingOut(
                **_same(row, RankingOut, {"prompt", "responses"}),
                prompt=prompts[row.stage, row.step],
                responses=[
                    ResponseOut.model_validate(one)
                    for one in found[row.stage, row.step, row.iteration]
                ],
            )
            for row in rows
        ]

    return show


def _plain(rows: Sequence[Response]) -> list[ResponseOut]:
    return [ResponseOut.model_validate(row) for row in rows]


def _same(row: object, out: Any, but: set[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in out.model_fields if name not in but}


def agreements(_: Session, rows: Sequence[AgreementRow]) -> list[AgreementOut]:
    """Show agreements beside what chance would give."""
    return [
        AgreementOut(
            **_same(row, AgreementOut, {"chance_length"}),
            chance_length=chance_length(row.candidates),
        )
        for row in rows
    ]


def demonstrations(_: Session, rows: Sequence[DemonstrationRow]) -> list[DemonstrationOut]:
    """Show demonstrations."""
    return [DemonstrationOut.model_validate(row) for row in rows]


def judge_calls(job: Job, *, include_request: bool) -> Show[JudgeCall, JudgeCallOut]:
    """Show calls with what they asked and were answered."""

    def show(session: Session, rows: Sequence[JudgeCall]) -> list[JudgeCallOut]:
        asked = runs.questions_of(session, job, rows)
        return [
            _judge_call(row, asked.get((row.key, row.repeat)), include_request=include_request)
            for row in rows
        ]

    return show


def _judge_call(
    row: JudgeCall, question: JudgeQuestion | None, *, include_request: bool
) -> JudgeCallOut:
    request = question.request if question is not None and include_request else None
    return JudgeCallOut(
        **_same(row, JudgeCallOut, {*_ASKED, "request"}),
        **{name: getattr(question, name, None) for name in _ASKED},
        request=request,
    )


def checkpoints(_: Session, rows: Sequence[Checkpoint]) -> list[CheckpointOut]:
    """Show checkpoints without their manifests."""
    return [CheckpointOut.model_validate(row) for row in rows]


def series(one: Series) -> SeriesOut:
    """Show a series and say whether it was thinned."""
    unit, better = MEANING.get(one.name, (None, None))
    return SeriesOut.model_validate(
        {
            "name": one.name,
            "unit": unit,
            "better": better,
            "points": PointsOut(update=one.update, t=one.at, value=one.value),
            "total_points": one.total_points,
            "non_finite": one.non_finite,
            "downsampled": "stride" if len(one.update) < one.total_points else "none",
        }
    )
