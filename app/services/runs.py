"""What a run recorded: events, rankings, agreements, demonstrations, judge calls, checkpoints."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Engine, Select, select, tuple_
from sqlalchemy.orm import Session

from app.core.db import transaction
from app.core.models import (
    AgreementRow,
    Checkpoint,
    DatasetRow,
    DemonstrationRow,
    Job,
    JobEvent,
    JobPrompt,
    JudgeCall,
    JudgeQuestion,
    RankingRow,
    Response,
)
from app.services.paging import Ask, Columns, Slice, fetch

T = TypeVar("T")

Step = tuple[str, int]
Place = tuple[str, int, int]
Key = tuple[str, int]

BATCH = 200


@dataclass(frozen=True)
class Listing(Generic[T]):
    """Some rows of a run in the order of their unique key; `scope` tells cursors apart."""

    query: Select[T]
    columns: Columns
    scope: str


@dataclass(frozen=True)
class Where:
    """Which places of a run a list shows; an empty field filters nothing."""

    stage: str | None = None
    step: int | None = None


def page(session: Session, listing: Listing[T], ask: Ask) -> Slice[T]:
    """Return one page."""
    return fetch(session, listing.query, listing.columns, ask, listing.scope)


def batches(engine: Engine, listing: Listing[T]) -> Iterator[tuple[Session, list[T]]]:
    """Yield all rows, each batch in a short transaction, so that a slow reader holds none."""
    ask = Ask(BATCH)
    more = True
    while more:
        with transaction(engine) as session:
            found = page(session, listing, ask)
            yield session, found.rows
        more = found.has_more
        ask = Ask(BATCH, found.cursors[-1] if found.cursors else None)


def _listing(job: Job, model: Any, columns: Columns, *filters: ColumnElement[bool]) -> Listing[Any]:
    query = select(model).where(model.job_id == job.id, *filters)
    return Listing(query, columns, f"{job.id}/{model.__tablename__}")


def _at(model: Any, where: Where) -> list[ColumnElement[bool]]:
    wanted = ((model.stage, where.stage), (model.step, where.step))
    return [column == value for column, value in wanted if value is not None]


def _place_columns(model: Any) -> tuple[Any, ...]:
    return model.stage, model.step, model.iteration


def events(job: Job, kind: str | None = None) -> Listing[JobEvent]:
    """List the job's log, oldest first."""
    filters = [] if kind is None else [JobEvent.type == kind]
    return _listing(job, JobEvent, [JobEvent.seq], *filters)


def rankings(job: Job, where: Where, outcome: str | None = None) -> Listing[RankingRow]:
    """List the rankings by their place in the run."""
    filters = _at(RankingRow, where)
    if outcome is not None:
        filters.append(RankingRow.outcome == outcome)
    return _listing(job, RankingRow, _place_columns(RankingRow), *filters)


def responses(job: Job, where: Where) -> Listing[Response]:
    """List every sampled response, of all stages."""
    columns = (*_place_columns(Response), Response.k)
    return _listing(job, Response, columns, *_at(Response, where))


def agreements(job: Job, where: Where) -> Listing[AgreementRow]:
    """List the agreements by their place in the run."""
    return _listing(job, AgreementRow, _place_columns(AgreementRow), *_at(AgreementRow, where))


def demonstrations(job: Job, where: Where) -> Listing[DemonstrationRow]:
    """List the dynamic demonstrations by the iteration that made them."""
    columns = _place_columns(DemonstrationRow)
    return _listing(job, DemonstrationRow, columns, *_at(DemonstrationRow, where))


def judge_calls(job: Job, where: Where) -> Listing[JudgeCall]:
    """List the posts and reuses by their place in the run."""
    columns = (*_place_columns(JudgeCall), JudgeCall.try_)
    return _listing(job, JudgeCall, columns, *_at(JudgeCall, where))


def checkpoints(job: Job) -> Listing[Checkpoint]:
    """List the job's checkpoints, oldest first."""
    return _listing(job, Checkpoint, [Checkpoint.round])


def responses_at(
    session: Session, job: Job, places: Sequence[Place]
) -> dict[Place, list[Response]]:
    """Return the responses of each place, in the order of k."""
    found: dict[Place, list[Response]] = {place: [] for place in places}
    at = tuple_(*_place_columns(Response)).in_(places)
    query = select(Response).where(Response.job_id == job.id, at).order_by(Response.k)
    for response in session.scalars(query):
        found[response.stage, response.step, response.iteration].append(response)
    return found


def prompts_at(session: Session, job: Job, steps: Sequence[Step]) -> dict[Step, list[Any]]:
    """Return the messages of each prompt; both held-out stages use the same ones."""
    wanted = {(_prompt_stage(stage), step) for stage, step in steps}
    query = (
        select(JobPrompt.stage, JobPrompt.step, DatasetRow.messages)
        .join(
            DatasetRow,
            (DatasetRow.dataset_id == JobPrompt.dataset_id)
            & (DatasetRow.position == JobPrompt.position),
        )
        .where(
            JobPrompt.job_id == job.id, tuple_(JobPrompt.stage, JobPrompt.step).in_(list(wanted))
        )
    )
    messages = {(stage, step): turns for stage, step, turns in session.execute(query)}
    return {key: messages.get((_prompt_stage(key[0]), key[1]), []) for key in steps}


def _prompt_stage(stage: str) -> str:
    if stage == "answer":
        return "prompts"
    return "held_out" if stage.startswith("held_out") else stage


def questions_of(
    session: Session, job: Job, calls: Sequence[JudgeCall]
) -> dict[Key, JudgeQuestion]:
    """Return what the calls asked, by key and repeat."""
    keys = {(call.key, call.repeat) for call in calls}
    query = select(JudgeQuestion).where(
        JudgeQuestion.workspace_id == job.workspace_id,
        tuple_(JudgeQuestion.key, JudgeQuestion.repeat).in_(list(keys)),
    )
    return {(row.key, row.repeat): row for row in session.scalars(query)}
