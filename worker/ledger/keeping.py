"""Which checkpoints of a job stay: the last few, and the best one."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.models import Checkpoint, Job


def forget_corrupt(session: Session, job: Job) -> list[str]:
    """Delete the rows of corrupt checkpoints: a whole one takes their place."""
    corrupt = select(Checkpoint).where(Checkpoint.job_id == job.id, Checkpoint.state == "corrupt")
    return _delete(session, list(session.scalars(corrupt)))


def forget_old(session: Session, job: Job, keep: int) -> list[str]:
    """Delete the rows beyond the last `keep`, but for the best one."""
    query = select(Checkpoint).where(Checkpoint.job_id == job.id, Checkpoint.state == "ready")
    rows = session.scalars(query.order_by(Checkpoint.round.desc()).offset(keep))
    return _delete(session, [row for row in rows if not row.best])


def _delete(session: Session, rows: list[Checkpoint]) -> list[str]:
    """Return the ids, whose bytes may go once this is committed."""
    for row in rows:
        session.delete(row)
    session.flush()
    return [row.id for row in rows]
