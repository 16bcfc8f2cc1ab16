"""Bringing a job's rows back to its newest whole checkpoint, so that rounds are never doubled."""

from sqlalchemy import CursorResult, delete, select
from sqlalchemy.orm import Session

from app.core.models import EVALUATION, EXPERIMENT, REWOUND, Checkpoint, Job, log_event


def rewind(session: Session, job: Job) -> Checkpoint | None:
    """Undo what is later than the newest whole checkpoint and return that, or None: all of it.

    Responses, rankings, agreements, demonstrations, metrics, scores and comparisons go; events,
    attempts and judge calls stay. Evaluations and experiments change no weights, so nothing of them
    is undone. The caller holds the job's row lock.
    """
    if job.kind in {EVALUATION, EXPERIMENT}:
        _log(session, job, None, undone=0, rows=0)
        return None
    checkpoint = _newest_checkpoint(session, job)
    undone = job.round
    job.round = checkpoint.round if checkpoint else 0
    job.update = checkpoint.update if checkpoint else 0
    job.progress = dict(checkpoint.metrics.get("progress", {})) if checkpoint else {}
    rows = _delete_later(session, job, all_rounds=checkpoint is None)
    _log(session, job, checkpoint, undone=undone, rows=rows)
    return checkpoint


def _newest_checkpoint(session: Session, job: Job) -> Checkpoint | None:
    return session.scalars(
        select(Checkpoint)
        .where(
            Checkpoint.workspace_id == job.workspace_id,
            Checkpoint.job_id == job.id,
            Checkpoint.state == "ready",
        )
        .order_by(Checkpoint.round.desc())
        .limit(1)
    ).first()


def _delete_later(session: Session, job: Job, *, all_rounds: bool) -> int:
    rows = 0
    for table in REWOUND:
        later = delete(table).where(table.job_id == job.id)
        if not all_rounds:
            later = later.where(table.round > job.round)
        result = session.execute(later.execution_options(synchronize_session=False))
        assert isinstance(result, CursorResult)
        rows += result.rowcount
    return rows


def _log(
    session: Session, job: Job, checkpoint: Checkpoint | None, *, undone: int, rows: int
) -> None:
    start = checkpoint.id if checkpoint else None
    session.add(
        log_event(
            job,
            "claimed",
            f"Attempt {job.attempt} starts from " + (start or "the beginning"),
            owner=job.lease_owner,
            checkpoint=start,
            round=job.round,
        )
    )
    if rows or undone > job.round:
        message = f"Went back from round {undone} to round {job.round}"
        session.add(log_event(job, "rewound", message, round=job.round, undone=undone, rows=rows))
