"""What the reaper ends: attempts whose lease ran out, and jobs whose deadline has passed.

Only the database's clock decides. Every function works in the caller's transaction.
"""

from datetime import timedelta

from sqlalchemy import DateTime, Interval, func, select
from sqlalchemy.orm import Session

from app.core.lease import BACK_OFF_SHARE, LEASED_VALUES, move, release
from app.core.models import LEASED, Act, Job, State


def reap(session: Session, *, ttl_seconds: float, max_stalls: int, limit: int = 100) -> list[str]:
    """End the attempts whose lease ran out and return their jobs' ids.

    After a start of PostgreSQL nothing is reaped for one lease, so that healthy workers can beat
    again first. The `max_stalls`-th loss in a row without progress fails the job.
    """
    lease_length = timedelta(seconds=ttl_seconds)
    up = func.clock_timestamp(type_=DateTime(timezone=True)) - func.pg_postmaster_start_time(
        type_=DateTime(timezone=True)
    )
    jobs = session.scalars(
        select(Job)
        .where(
            Job.state.in_(LEASED_VALUES),
            Job.lease_expires_at < func.clock_timestamp(),
            up.cast(Interval) > lease_length,
        )
        .order_by(Job.lease_expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    for job in jobs:
        _lose(session, job, ttl_seconds=ttl_seconds, max_stalls=max_stalls)
    return [job.id for job in jobs]


def expire(session: Session, *, limit: int = 100) -> list[str]:
    """Fail the jobs whose deadline has passed and return their ids; what they kept stays."""
    jobs = session.scalars(
        select(Job)
        .where(Job.deadline_at < func.clock_timestamp(), Job.finished_at.is_(None))
        .order_by(Job.deadline_at)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    for job in jobs:
        _expire(session, job)
    return [job.id for job in jobs]


def _expire(session: Session, job: Job) -> None:
    error = {
        "code": "deadline_exceeded",
        "detail": "The job had not ended by its deadline; what it had kept is there.",
        "phase": job.phase,
    }
    end = release if State(job.state) in LEASED else move
    end(session, job, Act.EXPIRE, actor="reaper", reason="deadline_exceeded", error=error)
    job.error = error
    session.flush()


def _lose(session: Session, job: Job, *, ttl_seconds: float, max_stalls: int) -> None:
    job.stalls += 1
    act, error = Act.LOSE, None
    if job.stalls >= max_stalls and State(job.state) is State.RUNNING:
        act = Act.FAIL
        error = {
            "code": "worker_lost_repeatedly",
            "detail": f"The worker was lost {job.stalls} times in a row without progress.",
            "phase": job.phase,
        }
    reason = "worker_lost" if error is None else "worker_lost_repeatedly"
    # The first loss waits for nothing: most are of the machine, few of the job.
    wait = timedelta(seconds=ttl_seconds / BACK_OFF_SHARE * (2 ** (job.stalls - 1) - 1))
    release(session, job, act, actor="reaper", reason=reason, error=error, wait=wait)
