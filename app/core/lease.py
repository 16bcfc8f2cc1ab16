"""Who may work on a job: claim, beat, fence and settle, by the database's clock alone.

Every function works in the caller's transaction and leaves the commit to the caller. The lease's
token only grows; a claim, a settlement and a reaping each raise it, so an old owner's writes are
refused from that instant.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import DateTime, extract, func, select, update
from sqlalchemy.orm import Session

from app.core import budget as budgets
from app.core.errors import Fenced
from app.core.models import (
    LEASED,
    TERMINAL,
    Act,
    Attempt,
    Job,
    State,
    after,
    log_event,
    next_jobs,
)
from app.core.patience import counts, most_failures, wait_seconds
from app.core.rewind import rewind
from app.core.spec.budget import MICROS

LEASED_VALUES = tuple(state.value for state in LEASED)
OUTCOMES = {
    Act.FINISH: "succeeded",
    Act.STOP: "stopped",
    Act.GIVE_BACK: "given_back",
    Act.RETRY_LATER: "error",
    Act.LOSE: "lost",
    Act.FAIL: "failed",
    Act.EXPIRE: "expired",
}
LEVELS = {Act.RETRY_LATER: "warning", Act.LOSE: "warning", Act.FAIL: "error", Act.EXPIRE: "error"}
BACK_OFF_SHARE = 6
"""The unit of the back-off after lost leases is this share of the lease: 10 s of 60 s."""


@dataclass(frozen=True)
class Lease:
    """A grant to work on one job, from its newest whole checkpoint, until the token is raised."""

    job_id: str
    workspace_id: str
    token: int
    attempt: int
    owner: str
    checkpoint_id: str | None
    round: int
    update: int


@dataclass(frozen=True)
class Beat:
    """What a heartbeat learns of the job.

    `compute_seconds` is what its budget lets the attempt take in all; None where nothing binds.
    """

    state: State
    silent_seconds: float
    """For how long nothing was committed."""
    phase: str | None = None
    compute_seconds: float | None = None


def claim(session: Session, *, owner: str, ttl_seconds: float) -> Lease | None:
    """Take the next runnable job and rewind it to its newest whole checkpoint; None: none waits."""
    job = session.scalars(
        next_jobs(Job)
        .limit(1)
        .with_for_update(skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    ).first()
    return None if job is None else grant(session, job, owner=owner, ttl_seconds=ttl_seconds)


def grant(session: Session, job: Job, *, owner: str, ttl_seconds: float) -> Lease:
    """Give a locked, queued job to an owner."""
    now = clock(session)
    job.lease_token += 1
    job.lease_owner = owner
    job.lease_expires_at = now + timedelta(seconds=ttl_seconds)
    job.progress_at = now
    job.started_at = job.started_at or now
    job.claims += 1
    job.attempt += 1
    job.error = None
    move(session, job, Act.CLAIM, actor=owner, reason="claimed")
    return _begin(session, job, owner, now)


def beat(session: Session, lease: Lease, *, ttl_seconds: float) -> Beat | None:
    """Renew the lease; None if it is another's now. An expired lease not yet reaped is renewed."""
    now = func.clock_timestamp(type_=DateTime(timezone=True))
    row = session.execute(
        update(Job)
        .where(*_held(lease))
        .values(lease_expires_at=now + timedelta(seconds=ttl_seconds))
        .returning(*_LEARNT)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    return None if row is None else _beat(*row)


def peek(session: Session, lease: Lease) -> Beat | None:
    """Learn what a heartbeat would, without a lock and without renewing; None if fenced."""
    row = session.execute(select(*_LEARNT).where(*_held(lease))).one_or_none()
    return None if row is None else _beat(*row)


_LEARNT = (
    Job.state,
    extract("epoch", func.clock_timestamp(type_=DateTime(timezone=True)) - Job.progress_at),
    Job.phase,
    Job.budget,
    Job.resolved["engine"]["ranks"],
)


def _beat(
    state: str, silent: float, phase: str | None, budget: budgets.Budget, ranks: int | None
) -> Beat:
    left = budgets.left(budget, budgets.COMPUTE)
    seconds = None if left is None else left / MICROS / (ranks or 1)
    return Beat(State(state), float(silent), phase, seconds)


def fence(session: Session, lease: Lease) -> Job:
    """Lock the job row for a write under this lease; raises `Fenced` if it is another's now."""
    job = session.scalars(
        select(Job)
        .where(*_held(lease))
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if job is None:
        raise Fenced(f"Attempt {lease.attempt} no longer holds the lease of {lease.job_id}.")
    return job


def progressed(session: Session, job: Job) -> None:
    """Note that a fenced transaction commits progress: losses and failures count anew."""
    job.stalls = 0
    job.failures = 0
    job.progress_at = clock(session)


def settle(
    session: Session,
    lease: Lease,
    act: Act,
    *,
    error: dict[str, Any] | None = None,
    run_after_seconds: float = 0,
    reason: str = "",
) -> State:
    """End the attempt as its owner and return the state that follows; raises `Fenced`.

    `RETRY_LATER` becomes `FAIL` at the `max_failures`-th own error in a row without progress, at
    the second one if that is a lack of memory.
    """
    job = fence(session, lease)
    if act is Act.RETRY_LATER and counts(error):
        job.failures += 1
        act = Act.FAIL if job.failures >= most_failures(error) else act
    wait = timedelta(seconds=wait_seconds(error, run_after_seconds))
    return release(session, job, act, actor=lease.owner, reason=reason, error=error, wait=wait)


def move(
    session: Session,
    job: Job,
    act: Act,
    *,
    actor: str,
    reason: str,
    error: dict[str, Any] | None = None,
) -> State:
    """Change a locked job's state by the table of transitions and log it; raises `Conflict`."""
    before, job.state = State(job.state), after(State(job.state), act).value
    state = State(job.state)
    if state is before:
        return state
    job.finished_at = clock(session) if state in TERMINAL else None
    facts: dict[str, Any] = {
        "from": before.value,
        "to": state.value,
        "reason": reason,
        "actor": actor,
    }
    if error is not None:
        facts |= {"error": error}
    message = f"{before.value} → {state.value}" + (f": {reason}" if reason else "")
    session.add(log_event(job, "state", message, level=LEVELS.get(act, "info"), **facts))
    return state


def clock(session: Session) -> datetime:
    """Read the database's clock, the only one that decides."""
    return session.scalars(select(func.clock_timestamp(type_=DateTime(timezone=True)))).one()


def _held(lease: Lease) -> tuple[Any, ...]:
    return (
        Job.id == lease.job_id,
        Job.lease_token == lease.token,
        Job.state.in_(LEASED_VALUES),
    )


def _begin(session: Session, job: Job, owner: str, now: datetime) -> Lease:
    checkpoint = rewind(session, job)
    session.add(
        Attempt(
            workspace_id=job.workspace_id,
            job_id=job.id,
            attempt=job.attempt,
            token=job.lease_token,
            owner=owner,
            started_at=now,
            from_checkpoint_id=checkpoint.id if checkpoint else None,
            from_round=job.round,
        )
    )
    session.flush()
    return Lease(
        job_id=job.id,
        workspace_id=job.workspace_id,
        token=job.lease_token,
        attempt=job.attempt,
        owner=owner,
        checkpoint_id=checkpoint.id if checkpoint else None,
        round=job.round,
        update=job.update,
    )


def release(
    session: Session,
    job: Job,
    act: Act,
    *,
    actor: str,
    reason: str,
    error: dict[str, Any] | None,
    wait: timedelta = timedelta(0),
) -> State:
    """Take the lease of a locked job away: the token rises, the state moves, the attempt ends."""
    now = clock(session)
    job.lease_token += 1
    job.lease_owner = None
    job.lease_expires_at = None
    state = move(session, job, act, actor=actor, reason=reason, error=error)
    attempt = session.get_one(Attempt, (job.id, job.attempt))
    attempt.ended_at = now
    attempt.outcome = OUTCOMES[act]
    job.budget = budgets.settle(
        budgets.write_off(job.budget), {}, {budgets.COMPUTE: _took(job, attempt, now)}
    )
    if error is not None and state is not State.CANCELLED:
        job.error = error
    if state is State.PAUSED and (job.error or {}).get("code") == budgets.RAISED:
        state = _paused_and_raised(session, job, actor)
    if state is not State.FAILED:
        job.phase = None
    if state is State.QUEUED:
        job.run_after = now + wait
        job.nudged_at = None
    session.flush()
    return state


def _paused_and_raised(session: Session, job: Job, actor: str) -> State:
    """Go on with a budget that was raised meanwhile, unless that is used up as well."""
    if not budgets.has_room(job.budget):
        job.error = budgets.USED_UP
        return State.PAUSED
    job.error = None
    return move(session, job, Act.RESUME, actor=actor, reason="the budget was raised")


def _took(job: Job, attempt: Attempt, now: datetime) -> int:
    """Microseconds of the attempt, on each of its ranks."""
    ranks: int = job.resolved.get("engine", {}).get("ranks", 1)
    return (now - attempt.started_at) // timedelta(microseconds=1) * ranks
