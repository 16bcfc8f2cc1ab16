"""What a run reads of the database before it starts: the job, its prompts and demonstrations."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, select

from app.core.db import transaction
from app.core.models import (
    ComparisonRow,
    DatasetRow,
    DemonstrationRow,
    Job,
    JobPrompt,
    RankingRow,
    Response,
    ScoreRow,
    run_rows,
)
from worker.cycle.contest import AskedTurn, JudgedTurn, Stored
from worker.cycle.types import At, Demonstration, Dialogue, Example, Message, Prompt, Question


def read_job(engine: Engine, job_id: str) -> Job:
    """Return the job's row as it is now."""
    with transaction(engine) as session:
        return session.get_one(Job, job_id)


def read_prompts(engine: Engine, job_id: str, stage: str) -> list[Prompt]:
    """Read the run's prompts of a stage (`align` or `held_out`), in order."""
    query = run_rows(job_id, [stage], JobPrompt.step, DatasetRow.messages)
    with transaction(engine) as session:
        return [Prompt(step, _dialogue(messages)) for step, messages in session.execute(query)]


def read_stored(engine: Engine, job_id: str) -> Stored:
    """Read what an evaluation's earlier attempts have stored."""
    answers: dict[At, list[str]] = {}
    with transaction(engine) as session:
        query = select(Response).where(Response.job_id == job_id).order_by(Response.k)
        for row in session.scalars(query):
            answers.setdefault(At(row.stage, row.step, row.iteration), []).append(row.text)
        rated = session.scalars(select(ScoreRow).where(ScoreRow.job_id == job_id))
        compared = session.scalars(select(ComparisonRow).where(ComparisonRow.job_id == job_id))
        again = session.scalars(select(RankingRow).where(RankingRow.job_id == job_id))
        return Stored(
            {at: tuple(texts) for at, texts in answers.items()},
            frozenset((At(row.stage, row.step, row.iteration), row.scorer) for row in rated),
            frozenset(At(row.stage, row.step, row.iteration) for row in compared),
            frozenset(At(row.stage, row.step, row.iteration) for row in again),
        )


def read_examples(engine: Engine, job_id: str, stage: str) -> list[Example]:
    """Read the run's rows of given responses (`align` or `validation`), in order."""
    query = run_rows(job_id, [stage], JobPrompt.step, DatasetRow)
    with transaction(engine) as session:
        return [_example(step, row) for step, row in session.execute(query)]


def _example(step: int, row: DatasetRow) -> Example:
    return Example(
        Prompt(step, _dialogue(row.messages)),
        tuple(row.responses or ()),
        tuple(tuple(group) for group in row.ranking or ()),
        None if row.scores is None else tuple(row.scores),
    )


def read_judged(engine: Engine, job_id: str) -> list[JudgedTurn]:
    """Read what another job's judge has ranked: distinct responses, in the order of sampling."""
    prompts = {prompt.step: prompt.messages for prompt in read_prompts(engine, job_id, "align")}
    ranked = select(RankingRow).where(
        RankingRow.job_id == job_id,
        RankingRow.stage == "align",
        RankingRow.black_box.is_not(None),
    )
    query = (
        select(Response)
        .where(Response.job_id == job_id, Response.stage == "align")
        .order_by(Response.step, Response.iteration, Response.k)
    )
    with transaction(engine) as session:
        wanted = {(row.step, row.iteration) for row in session.scalars(ranked)}
        texts: dict[tuple[int, int], list[str]] = {}
        for row in session.scalars(query):
            if (row.step, row.iteration) in wanted and row.merged_into is None:
                texts.setdefault((row.step, row.iteration), []).append(row.text)
    return [
        JudgedTurn(step, iteration, prompts[step], tuple(found))
        for (step, iteration), found in texts.items()
    ]


def read_asked(
    engine: Engine, job_id: str, static: tuple[Demonstration, ...], *, reads: bool, teacher: bool
) -> list[AskedTurn]:
    """Put together what another job's judge was asked wherever it answered with a ranking.

    Of several presentation orders it is the first that the judge ranked.
    A response with letters that PostgreSQL cannot hold is asked as it is stored.

    Args:
        engine: the database.
        job_id: the other job.
        static: its static demonstrations.
        reads: whether its judge reads demonstrations.
        teacher: whether its judge was asked for a better response.
    """
    prompts = {prompt.step: prompt.messages for prompt in read_prompts(engine, job_id, "align")}
    with transaction(engine) as session:
        texts = {
            (row.step, row.iteration, row.k): row.text
            for row in session.scalars(_aligning(Response, job_id))
        }
        shown = session.scalars(_aligning(DemonstrationRow, job_id)).all()
        ranked = session.scalars(_aligning(RankingRow, job_id)).all()
    return [
        AskedTurn(
            row.step,
            row.iteration,
            tuple(presented),
            Question(
                prompts[row.step],
                tuple(texts[row.step, row.iteration, k] for k in presented),
                (*static, *_dynamic(shown, row)) if reads else (),
                # of several orders the first alone is asked for a response
                teacher and presented == row.presented,
            ),
        )
        for row in ranked
        if row.black_box is not None
        for presented in [row.first_ranked["presented"]]
    ]


def _aligning(table: Any, job_id: str) -> Any:
    rows = select(table).where(table.job_id == job_id, table.stage == "align")
    return rows.order_by(table.step, table.iteration)


def _dynamic(shown: Sequence[DemonstrationRow], at: RankingRow) -> tuple[Demonstration, ...]:
    """The step's demonstrations from before an iteration."""
    return tuple(
        _demonstration(row.messages, row.responses, row.answer)
        for row in shown
        if row.step == at.step and row.iteration < at.iteration
    )


def read_dialogues(engine: Engine, dataset_id: str, n: int) -> list[Dialogue]:
    """Read the first `n` rows of a dataset of dialogues, each with its reply as the last turn."""
    query = (
        select(DatasetRow)
        .where(DatasetRow.dataset_id == dataset_id)
        .order_by(DatasetRow.position)
        .limit(n)
    )
    with transaction(engine) as session:
        return [
            (*_dialogue(row.messages), Message("assistant", (row.responses or [""])[0]))
            for row in session.scalars(query)
        ]


def read_demonstrations(engine: Engine, dataset_id: str, n: int) -> tuple[Demonstration, ...]:
    """Read the first `n` rows of a dataset as static demonstrations."""
    query = (
        select(DatasetRow)
        .where(DatasetRow.dataset_id == dataset_id)
        .order_by(DatasetRow.position)
        .limit(n)
    )
    with transaction(engine) as session:
        return tuple(_static(row) for row in session.scalars(query))


def _static(row: DatasetRow) -> Demonstration:
    return _demonstration(row.messages, row.responses, row.ranking)


def _demonstration(
    messages: list[Any], responses: list[Any] | None, answer: list[Any] | None
) -> Demonstration:
    return Demonstration(
        messages=_dialogue(messages),
        responses=tuple(responses or ()),
        answer=tuple(tuple(group) for group in answer or ()),
    )


def _dialogue(messages: list[Any]) -> Dialogue:
    return tuple(Message(m["role"], m["content"]) for m in messages)
