"""The book of one lease: every row of the run is written here, behind the fence."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.orm import Session

from app.core import lease as leases
from app.core.db import transaction
from app.core.lease import Lease
from app.core.models import Act, Attempt, Checkpoint, Job, Metric, State, log_event
from worker.cycle.events import (
    Answered,
    AskedAgain,
    Compared,
    Event,
    Iterated,
    Phase,
    Rated,
    RoundEnded,
    Scored,
    StepEnded,
    Taught,
    Valued,
)
from worker.cycle.health import Alarm
from worker.ledger import progress, rows
from worker.ledger.measured import measured


@dataclass(frozen=True)
class Book:
    """What a runner may write while its lease holds; raises `Fenced` when it no longer does.

    Every commit shows that the runner is alive; only a checkpoint makes losses count anew, since
    all that is later than the last one is undone by a loss.
    """

    engine: Engine
    lease: Lease

    @contextmanager
    def commit(self) -> Iterator[tuple[Session, Job]]:
        """One short transaction that first locks the job row on our token."""
        with transaction(self.engine) as session:
            yield session, leases.fence(session, self.lease)

    def record(self, event: Event) -> None:
        """Store all that one event says, in one transaction."""
        with self.commit() as (session, job):
            _store(session, job, event)
            job.progress = progress.after(job.progress, event)
            job.usage = progress.usage_after(job.usage, event)
            job.progress_at = leases.clock(session)

    def measure(self, round_: int, figures: Mapping[str, float]) -> None:
        """Store a round's live figures; a round that makes no update displaces nobody's."""
        if figures:
            with self.commit() as (session, job):
                session.execute(_points(job, round_, figures).on_conflict_do_nothing())

    def alarm(self, alarm: Alarm, *, stops: bool) -> None:
        """Log that a figure went beyond its threshold; where it stops the job, name what is left.

        The newest checkpoint was taken before the alarm and becomes the job's result.
        """
        with self.commit() as (session, job):
            if stops:
                job.result_checkpoint_id = _newest(session, job)
            facts = {"name": alarm.name, "value": alarm.value, "threshold": alarm.threshold}
            session.add(log_event(job, "alarm", alarm.message, level="warning", **facts))

    def pause(self, actor: str, reason: str, error: dict[str, str] | None = None) -> None:
        """Ask for the pause of one's own job; nothing if it is ending in another way.

        An error says what somebody must change before the job can go on.
        """
        with self.commit() as (session, job):
            if State(job.state) is State.RUNNING:
                leases.move(session, job, Act.PAUSE, actor=actor, reason=reason, error=error)
                job.error = error

    def finish(self) -> None:
        """Settle a job that makes no checkpoint."""
        with self.commit() as (session, job):
            job.phase = None
            session.flush()
            leases.settle(session, self.lease, Act.FINISH, reason="the run is complete")

    def start(self, environment: dict[str, Any]) -> None:
        """Record where this attempt runs."""
        with self.commit() as (session, job):
            attempt = session.get_one(Attempt, (job.id, self.lease.attempt))
            attempt.environment = environment
            job.resolved = job.resolved | {"versions": environment["versions"]}
            job.phase = "loading"
            session.add(log_event(job, "started", "The runner has started.", **environment))
            job.progress_at = leases.clock(session)


def _newest(session: Session, job: Job) -> str | None:
    query = select(Checkpoint.id).where(Checkpoint.job_id == job.id, Checkpoint.state == "ready")
    return session.scalars(query.order_by(Checkpoint.round.desc()).limit(1)).first()


def _store(session: Session, job: Job, event: Event) -> None:
    match event:
        case Phase():
            job.phase = event.name
        case Iterated():
            _store_iteration(session, job, event)
        case StepEnded():
            _store_metrics(session, job, event.round, {"step/iterations": event.iterations})
            session.add(_step_event(job, event))
        case Scored() | Valued() | Answered() | Rated() | Compared() | AskedAgain():
            session.add_all(measured(job, event))
        case Taught():
            job.update = event.learned.version
            _store_metrics(session, job, event.round, rows.lessons(event))
        case RoundEnded():
            job.round = event.round
            job.update = event.version
            session.add(log_event(job, "round", f"Round {event.round} ended.", round=event.round))


def _store_iteration(session: Session, job: Job, event: Iterated) -> None:
    session.add_all(rows.iteration(job, event))
    if event.learned is not None:
        job.update = event.learned.version
        _store_metrics(session, job, event.round, rows.measures(event))
    else:
        note = rows.SKIP_NOTES[event.outcome]
        session.add(log_event(job, "skipped", note, level="warning", **rows.place(event)))
    if steadiness := rows.steadiness(event):
        _store_metrics(session, job, event.round, steadiness)


def _store_metrics(session: Session, job: Job, round_: int, values: dict[str, float]) -> None:
    statement = _points(job, round_, values)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[Metric.job_id, Metric.name, Metric.update],
            set_={"value": statement.excluded.value, "round": statement.excluded.round},
        )
    )


def _points(job: Job, round_: int, values: Mapping[str, float]) -> Insert:
    return insert(Metric).values(
        [
            {
                "workspace_id": job.workspace_id,
                "job_id": job.id,
                "name": name,
                "update": job.update,
                "round": round_,
                "value": rows.finite(value),
            }
            for name, value in values.items()
        ]
    )


def _step_event(job: Job, event: StepEnded) -> object:
    how = "agreed" if event.agreed else "reached the last iteration"
    return log_event(
        job,
        "step",
        f"Step {event.step} {how} after {event.iterations} iterations.",
        step=event.step,
        iterations=event.iterations,
        agreed=event.agreed,
    )
