"""The dispatcher: nudges workers, reaps and sweeps after lost ones, and takes experiments on.

Run it as `python -m app.dispatcher`, any number of times: one copy acts, the others wait for its
lock. The jobs' rows are the outbox, so that a crash or an empty broker costs only time.
"""

import signal
import threading
import time
from dataclasses import dataclass, field
from datetime import timedelta

from celery import Celery
from sqlalchemy import Connection, Engine, delete, func, or_, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from app.core.db import get_engine, transaction
from app.core.errors import Unavailable
from app.core.logging import get_logger, setup_logging
from app.core.models import Job, State, WorkerRow, next_jobs
from app.core.queue import celery_app, prepare_broker, purge_delivered, send_nudge
from app.core.reaping import expire, reap
from app.core.settings import Settings, get_settings
from app.core.spec.catalogue import Catalogue
from app.core.storage import Store, open_store
from app.core.sweeping import LEASES, sweep
from app.services import idempotency
from app.services.catalogue import open_catalogue
from app.services.contests import advance, waiting

REAP_PAGE = 100
SWEEP_PAGE = 10
FORGET_WORKERS = timedelta(days=1)
MISSED_BEATS = 3
"""A worker silent for so many heartbeats takes no nudges."""

_LOCK = text("SELECT pg_try_advisory_lock(hashtext('cyclealign.dispatcher'))")


@dataclass
class Leader:
    """The lock of the copy that acts, held by a connection of its own."""

    engine: Engine
    connection: Connection | None = None

    def leads(self) -> bool:
        """Whether this copy acts; raises `SQLAlchemyError` if the database is away."""
        try:
            if self.connection is not None:
                self.connection.execute(text("SELECT 1"))
                return True
            return self._try()
        except SQLAlchemyError:
            self.release()
            raise

    def release(self) -> None:
        """Close the connection, and with it the lock."""
        if self.connection is not None:
            self.connection.invalidate()
            self.connection.close()
            self.connection = None

    def _try(self) -> bool:
        connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        if connection.scalar(_LOCK):
            self.connection = connection
            return True
        connection.close()
        return False


@dataclass
class Dispatcher:
    """The loop's parts; reaping and sweeping are due at times of the monotonic clock."""

    engine: Engine
    settings: Settings
    celery: Celery
    catalogue: Catalogue
    store: Store
    stopping: threading.Event
    reap_at: float = 0.0
    sweep_at: float = 0.0
    leader: Leader = field(init=False)

    def __post_init__(self) -> None:
        self.leader = Leader(self.engine)

    def run(self) -> None:
        """Loop until told to stop; a database or broker that is away is met again next time."""
        while not self.stopping.is_set():
            self.turn()
            self.stopping.wait(self.settings.dispatch_seconds)
        self.leader.release()

    def turn(self) -> None:
        """Do what is due once, if this copy leads."""
        try:
            if not self.leader.leads():
                return
            if time.monotonic() >= self.reap_at:
                clean(self.engine, self.settings)
                self.reap_at = time.monotonic() + self.settings.reap_seconds
            take_on(self.engine, self.catalogue)
            nudge(self.engine, self.settings, self.celery)
            if time.monotonic() >= self.sweep_at:
                self._sweep()
        except (SQLAlchemyError, Unavailable, OSError) as fault:
            get_logger().warning("a turn failed", fault=type(fault).__name__, detail=str(fault))

    def _sweep(self) -> None:
        """Sweep a page; a full one has the next follow after the next turn."""
        self.sweep_at = time.monotonic() + self.settings.sweep_seconds
        age = LEASES * self.settings.lease_seconds
        gone = sweep(self.engine, self.store, older_seconds=age, limit=SWEEP_PAGE)
        if gone:
            get_logger().warning("swept", checkpoints=gone)
        if len(gone) == SWEEP_PAGE:
            self.sweep_at = 0.0


def nudge(engine: Engine, settings: Settings, celery: Celery) -> int:
    """Send a nudge for each runnable job that had none for a while, and note it; return how many.

    No more at once than one for every worker seen alive and one to spare: a nudge names no job,
    so more would only pile up behind busy workers.
    """
    with transaction(engine) as session:
        alive = func.clock_timestamp() - timedelta(
            seconds=MISSED_BEATS * settings.heartbeat_seconds
        )
        workers = select(func.count()).where(WorkerRow.seen_at > alive, ~WorkerRow.draining)
        stale = func.clock_timestamp() - timedelta(seconds=settings.renudge_seconds)
        due = (
            next_jobs(Job.id)
            .where(or_(Job.nudged_at.is_(None), Job.nudged_at < stale))
            .limit(1 + (session.scalar(workers) or 0))
        )
        jobs = list(session.scalars(due))
    for job_id in jobs:
        send_nudge(celery)
        with transaction(engine) as session:
            sent = update(Job).where(Job.id == job_id, Job.state == State.QUEUED.value)
            session.execute(sent.values(nudged_at=func.clock_timestamp()))
    return len(jobs)


def take_on(engine: Engine, catalogue: Catalogue) -> None:
    """Take every experiment on, each in a transaction of its own."""
    with transaction(engine) as session:
        found = waiting(session)
    for experiment in found:
        with transaction(engine) as session:
            advance(session, experiment, catalogue)


def clean(engine: Engine, settings: Settings) -> None:
    """Reap lost leases and late jobs, remove delivered messages, old answers, workers long gone."""
    lost = reap_all(engine, settings)
    with transaction(engine) as session:
        late = expire(session)
    if lost or late:
        get_logger().warning("reaped", lost=lost, late=late)
    purge_delivered(engine)
    with transaction(engine) as session:
        gone = func.clock_timestamp() - FORGET_WORKERS
        session.execute(delete(WorkerRow).where(WorkerRow.seen_at < gone))
        idempotency.forget_old(session)


def reap_all(engine: Engine, settings: Settings) -> list[str]:
    """Reap page after page, each in a transaction of its own; return the jobs' ids."""
    lost: list[str] = []
    while True:
        with transaction(engine) as session:
            page = reap(
                session,
                ttl_seconds=settings.lease_seconds,
                max_stalls=settings.max_stalls,
                limit=REAP_PAGE,
            )
        lost += page
        if len(page) < REAP_PAGE:
            return lost


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    setup_logging()
    settings, engine, stopping = get_settings(), get_engine(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    celery = celery_app(settings)
    _prepare(celery, engine, stopping)
    get_logger().info("the dispatcher starts")
    catalogue = open_catalogue(settings.catalogue)
    store = open_store(settings.artifacts_url, engine)
    Dispatcher(engine, settings, celery, catalogue, store, stopping).run()
    get_logger().info("the dispatcher ends")


def _prepare(celery: Celery, engine: Engine, stopping: threading.Event) -> None:
    """Make the broker's tables, as soon as the database answers."""
    while not stopping.is_set():
        try:
            prepare_broker(celery, engine)
        except SQLAlchemyError as fault:
            get_logger().warning("the broker is not ready", fault=type(fault).__name__)
            stopping.wait(1)
        else:
            return


if __name__ == "__main__":
    main()
