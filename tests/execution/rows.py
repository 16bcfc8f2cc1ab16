"""Rows that tests of the execution begin with."""

from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.core.models import (
    DEFAULT_WORKSPACE,
    AgreementRow,
    Attempt,
    Checkpoint,
    ComparisonRow,
    DemonstrationRow,
    Job,
    JobEvent,
    JudgeCall,
    JudgeQuestion,
    Metric,
    RankingRow,
    Response,
    ScoreRow,
    new_id,
)


def add_job(engine: Engine, **fields: Any) -> str:
    """Store a queued job and return its id."""
    job = Job(
        id=new_id("job"),
        **{
            "name": "test",
            "spec": {},
            "resolved": {},
            "seed": 1,
            "meta": {},
            "steps_total": 4,
            "progress": {},
            "usage": {},
            **fields,
        },
    )
    with Session(engine, expire_on_commit=False) as session, session.begin():
        session.add(job)
    return job.id


def read_job(engine: Engine, job_id: str) -> Job:
    with Session(engine, expire_on_commit=False) as session:
        return session.get_one(Job, job_id)


def read_events(engine: Engine, job_id: str) -> list[JobEvent]:
    with Session(engine, expire_on_commit=False) as session:
        query = select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)
        return list(session.scalars(query))


def read_attempts(engine: Engine, job_id: str) -> list[Attempt]:
    with Session(engine, expire_on_commit=False) as session:
        query = select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.attempt)
        return list(session.scalars(query))


def add_checkpoint(engine: Engine, job_id: str, *, round: int, **fields: Any) -> str:  # noqa: A002 - the column's name
    checkpoint = Checkpoint(
        id=new_id("ckpt"),
        job_id=job_id,
        round=round,
        **{
            "update": round,
            "steps_done": round,
            "token": 1,
            "attempt": 1,
            "final": False,
            "manifest": {},
            "manifest_sha256": "",
            "bytes": 0,
            "metrics": {},
            **fields,
        },
    )
    with Session(engine, expire_on_commit=False) as session, session.begin():
        session.add(checkpoint)
    return checkpoint.id


def run_rows(job_id: str, round_: int) -> list[Any]:
    """Make one row of every rewound table, as a round leaves them, and of the judge's ledger."""
    at: dict[str, Any] = {"job_id": job_id, "stage": "align", "step": round_, "iteration": 0}
    return [
        Response(
            **at,
            k=0,
            round=round_,
            update=0,
            text="hello",
            token_ids=[1],
            logprob_sum=-1.0,
            finish="stop",
            seed=1,
        ),
        RankingRow(**at, round=round_, outcome="updated", white_box=[[0]], presented=[[0]]),
        AgreementRow(
            **at, round=round_, update=round_, agreement=[0], length=1, candidates=1, complete=False
        ),
        DemonstrationRow(
            **at, round=round_, origin="agreement", messages=[], responses=[], answer=[]
        ),
        Metric(job_id=job_id, name="loss", update=round_, round=round_, value=1.0),
        ComparisonRow(**at, round=round_, left=0, right=1, swapped=False, verdict="tie"),
        ScoreRow(**at, k=0, scorer="self", round=round_, update=round_, value=1.0),
        JudgeCall(**at, try_=1, attempt=1, key=str(round_), kind="post"),
        JudgeQuestion(
            workspace_id=DEFAULT_WORKSPACE,
            key=f"{job_id}{round_}",
            state="done",
            judge="rubric",
            question_sha256="",
            request={},
            job_id=job_id,
            token=1,
        ),
    ]
