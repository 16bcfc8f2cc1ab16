"""The job row, its state machine, its attempts and its event log."""

from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.budget import new_budget
from app.core.errors import Conflict
from app.core.models.base import Base, Big, CreatedAt, Json, Moment, Owned

ALIGNMENT, EVALUATION, EXPERIMENT = "alignment", "evaluation", "experiment"
"""The kinds of jobs."""


class State(StrEnum):
    """Where a job is; where it is inside its recipe is its `phase`."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Act(StrEnum):
    """What can happen to a job: a user's action, or what the worker and the reaper report."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"
    RETRY = "retry"
    CLAIM = "claim"
    FINISH = "finish"
    STOP = "stop"
    """The runner ended because it was asked to; it was `pausing` or `cancelling`."""
    GIVE_BACK = "give_back"
    """A worker that shuts down hands the job back."""
    RETRY_LATER = "retry_later"
    LOSE = "lose"
    """The lease ran out."""
    FAIL = "fail"
    EXPIRE = "expire"
    """The deadline has passed."""


LEASED = (State.RUNNING, State.PAUSING, State.CANCELLING)
TERMINAL = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
USER_ACTS = (Act.CANCEL, Act.PAUSE, Act.RESUME, Act.RETRY)

_S, _A = State, Act
TRANSITIONS: dict[tuple[State, Act], State] = {
    (_S.QUEUED, _A.CANCEL): _S.CANCELLED,
    (_S.QUEUED, _A.PAUSE): _S.PAUSED,
    (_S.QUEUED, _A.CLAIM): _S.RUNNING,
    (_S.QUEUED, _A.EXPIRE): _S.FAILED,
    (_S.RUNNING, _A.CANCEL): _S.CANCELLING,
    (_S.RUNNING, _A.PAUSE): _S.PAUSING,
    (_S.RUNNING, _A.FINISH): _S.SUCCEEDED,
    (_S.RUNNING, _A.GIVE_BACK): _S.QUEUED,
    (_S.RUNNING, _A.RETRY_LATER): _S.QUEUED,
    (_S.RUNNING, _A.LOSE): _S.QUEUED,
    (_S.RUNNING, _A.FAIL): _S.FAILED,
    (_S.RUNNING, _A.EXPIRE): _S.FAILED,
    (_S.PAUSING, _A.CANCEL): _S.CANCELLING,
    (_S.PAUSING, _A.FINISH): _S.SUCCEEDED,
    (_S.PAUSING, _A.STOP): _S.PAUSED,
    (_S.PAUSING, _A.GIVE_BACK): _S.PAUSED,
    (_S.PAUSING, _A.RETRY_LATER): _S.PAUSED,
    (_S.PAUSING, _A.LOSE): _S.PAUSED,
    (_S.PAUSING, _A.FAIL): _S.FAILED,
    (_S.PAUSING, _A.EXPIRE): _S.FAILED,
    (_S.PAUSED, _A.CANCEL): _S.CANCELLED,
    (_S.PAUSED, _A.RESUME): _S.QUEUED,
    (_S.PAUSED, _A.EXPIRE): _S.FAILED,
    (_S.CANCELLING, _A.FINISH): _S.SUCCEEDED,
    (_S.CANCELLING, _A.STOP): _S.CANCELLED,
    (_S.CANCELLING, _A.GIVE_BACK): _S.CANCELLED,
    (_S.CANCELLING, _A.RETRY_LATER): _S.CANCELLED,
    (_S.CANCELLING, _A.LOSE): _S.CANCELLED,
    (_S.CANCELLING, _A.FAIL): _S.CANCELLED,
    (_S.CANCELLING, _A.EXPIRE): _S.CANCELLED,
    (_S.FAILED, _A.RETRY): _S.QUEUED,
    (_S.CANCELLED, _A.RETRY): _S.QUEUED,
}

REPEATS: frozenset[tuple[State, Act]] = frozenset(
    {
        (_S.CANCELLING, _A.CANCEL),
        (_S.CANCELLED, _A.CANCEL),
        (_S.PAUSING, _A.PAUSE),
        (_S.PAUSED, _A.PAUSE),
        (_S.QUEUED, _A.RESUME),
        (_S.RUNNING, _A.RESUME),
        (_S.QUEUED, _A.RETRY),
    }
)
"""Actions whose effect is already there: answered with the job as it is."""


def after(state: State, act: Act) -> State:
    """Return the state that follows; raises `Conflict` for an illegal move."""
    if (state, act) in REPEATS:
        return state
    try:
        return TRANSITIONS[state, act]
    except KeyError:
        actions = allowed_actions(state)
        offer = ", ".join(actions) or "none"
        raise Conflict(
            f"The job is {state.value!r} and cannot {act.value}. Allowed actions: {offer}.",
            code="invalid_state",
            facts={"state": state.value, "allowed_actions": list(actions)},
        ) from None


def allowed_actions(state: State) -> tuple[str, ...]:
    """Name the user's actions that change something now."""
    return tuple(act.value for act in USER_ACTS if (state, act) in TRANSITIONS)


_LEASED_SQL = ", ".join(f"'{state.value}'" for state in LEASED)
_STATES_SQL = ", ".join(f"'{state.value}'" for state in State)


class Job(Owned, Base):
    """One piece of work with a lease; the only truth about it."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "workspace_id", "created_at", "id"),
        Index(None, "workspace_id", "config_sha256"),
        Index(None, "parent_id"),
        Index(
            "ix_jobs_runnable",
            "priority",
            "run_after",
            "id",
            postgresql_where=text("state = 'queued'"),
        ),
        Index(
            "ix_jobs_leased",
            "lease_expires_at",
            postgresql_where=text(f"state IN ({_LEASED_SQL})"),
        ),
        Index(
            "ix_jobs_deadline",
            "deadline_at",
            postgresql_where=text("deadline_at IS NOT NULL AND finished_at IS NULL"),
        ),
        CheckConstraint(f"state IN ({_STATES_SQL})", name="state"),
        CheckConstraint(
            f"(state IN ({_LEASED_SQL})) = "
            "(lease_owner IS NOT NULL AND lease_expires_at IS NOT NULL)",
            name="lease",
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(default=ALIGNMENT)
    parent_id: Mapped[str | None]
    cloned_from: Mapped[str | None] = mapped_column(comment="the job whose spec it was made of")
    name: Mapped[str]
    state: Mapped[str] = mapped_column(default=State.QUEUED.value)
    phase: Mapped[str | None]
    spec: Mapped[Json]
    resolved: Mapped[Json]
    config_sha256: Mapped[str | None] = mapped_column(
        comment="of what decides the result; equal configs give equal results"
    )
    seed: Mapped[Big]
    meta: Mapped[Json] = mapped_column("metadata")
    priority: Mapped[int] = mapped_column(SmallInteger, default=100)
    run_after: Mapped[Moment] = mapped_column(server_default=func.clock_timestamp())

    lease_token: Mapped[Big] = mapped_column(default=0, comment="the fencing token; only grows")
    lease_owner: Mapped[str | None]
    lease_expires_at: Mapped[Moment | None]
    progress_at: Mapped[Moment | None]
    claims: Mapped[int] = mapped_column(default=0)
    stalls: Mapped[int] = mapped_column(SmallInteger, default=0)
    failures: Mapped[int] = mapped_column(SmallInteger, default=0)
    attempt: Mapped[int] = mapped_column(default=0)
    nudged_at: Mapped[Moment | None]
    cancel_requested_at: Mapped[Moment | None]
    deadline_at: Mapped[Moment | None]

    round: Mapped[int] = mapped_column(default=0, comment="the last round that ended")
    update: Mapped[int] = mapped_column(default=0, comment="the weights version")
    steps_total: Mapped[int]
    progress: Mapped[Json]
    usage: Mapped[Json]
    event_seq: Mapped[Big] = mapped_column(default=0)
    result_checkpoint_id: Mapped[str | None]
    error: Mapped[Json | None]

    budget: Mapped[Json] = mapped_column(
        default=lambda: new_budget({}), comment="by unit: cap, spent, reserved"
    )

    created_at: Mapped[CreatedAt]
    started_at: Mapped[Moment | None]
    finished_at: Mapped[Moment | None]


class JobPrompt(Owned, Base):
    """The run's prompts in order: `step` is the position in the run, by stage."""

    __tablename__ = "job_prompts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[str]
    position: Mapped[int]


class Attempt(Owned, Base):
    """One grant of the lease, from claim to end; ended attempts never change."""

    __tablename__ = "attempts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[Big]
    owner: Mapped[str]
    started_at: Mapped[Moment]
    ended_at: Mapped[Moment | None]
    outcome: Mapped[str | None]
    from_checkpoint_id: Mapped[str | None]
    from_round: Mapped[int]
    environment: Mapped[Json | None]


class JobEvent(Owned, Base):
    """The append-only log of a job; `seq` is handed out under the job's row lock."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[Big] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    type: Mapped[str]
    level: Mapped[str]
    message: Mapped[str]
    data: Mapped[Json]
    created_at: Mapped[CreatedAt]


def log_event(job: Job, kind: str, message: str, *, level: str = "info", **data: Any) -> JobEvent:
    """Make the job's next event; the caller holds the job's row lock and adds the event."""
    job.event_seq += 1
    return JobEvent(
        workspace_id=job.workspace_id,
        job_id=job.id,
        seq=job.event_seq,
        attempt=job.attempt,
        type=kind,
        level=level,
        message=message,
        data=data,
    )
