"""The Celery task's work: claim a job, start its runner, keep the lease, stop it, settle.

The runner is another program and is never imported: no tensor library enters a Celery process.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import environ
from subprocess import PIPE

from sqlalchemy import Engine, create_engine, update

from app.core.db import transaction
from app.core.errors import Fenced
from app.core.lease import BACK_OFF_SHARE, Lease, claim, fence, settle
from app.core.logging import get_logger
from app.core.models import Act, Job, State, next_jobs
from app.core.process import kill_group, start_group, tied
from app.core.settings import Settings
from worker.ending import Ending
from worker.heap import VARIABLES
from worker.watch import DATABASE_AWAY, PEEK_SECONDS, Watch

RUNNER = (sys.executable, "-m", "worker.runner")
RUNNER_DEFAULTS = {"TQDM_DISABLE": "1", **VARIABLES}
SETTLE_SECONDS = 10.0
"""How long a worker that shuts down tries to hand its job back."""


@dataclass(frozen=True)
class Supervisor:
    """One slot that runs one job at a time.

    `draining` says whether the worker shuts down; `runner` is the program that does the job.
    """

    engine: Engine
    settings: Settings
    owner: str
    draining: Callable[[], bool]
    runner: Sequence[str] = RUNNER


def open_engine(settings: Settings) -> Engine:
    """Make the supervisor's own engine: no statement and no dead network holds it for long."""
    return create_engine(
        settings.database_url,
        pool_pre_ping=True,
        pool_size=1,
        max_overflow=1,
        pool_timeout=5,
        connect_args={
            "connect_timeout": 5,
            "tcp_user_timeout": 10_000,
            "options": "-c timezone=UTC -c statement_timeout=10s -c lock_timeout=3s",
        },
    )


def work_once(supervisor: Supervisor) -> Lease | None:
    """Claim one job and see its attempt through; None if none was runnable."""
    if supervisor.draining():
        return None
    try:
        lease = _claim(supervisor)
    except DATABASE_AWAY as fault:
        get_logger().warning("no claim: the database is away", fault=type(fault).__name__)
        return None
    if lease is None:
        return None
    log = get_logger().bind(job=lease.job_id, attempt=lease.attempt)
    log.info("claimed")
    ending = _see_through(supervisor, lease)
    state = _settle(supervisor, lease, ending) if ending else None
    log.info("ended", state=state, reason=ending.reason if ending else None)
    _pass_on(supervisor)
    return lease


def _claim(supervisor: Supervisor) -> Lease | None:
    with transaction(supervisor.engine) as session:
        return claim(session, owner=supervisor.owner, ttl_seconds=supervisor.settings.lease_seconds)


def _see_through(supervisor: Supervisor, lease: Lease) -> Ending | None:
    """Run the job's program to its end; whatever happens, nothing of it is left running."""
    # Tied before it loads anything: a runner whose supervisor died meanwhile would load in vain.
    command = tied(supervisor.runner)
    process = start_group(command, stdin=PIPE, stdout=PIPE, env=RUNNER_DEFAULTS | environ)
    watch = Watch(supervisor.engine, supervisor.settings, supervisor.draining, lease, process)
    try:
        return watch.until_end()
    finally:
        kill_group(process)


def _settle(supervisor: Supervisor, lease: Lease, ending: Ending) -> State | None:
    """Settle the attempt, as soon as the database answers; None if another has settled it."""
    give_up = None
    while True:
        try:
            return _settle_once(supervisor, lease, ending)
        except Fenced:
            return None
        except DATABASE_AWAY as fault:
            get_logger().warning("not settled yet", job=lease.job_id, fault=type(fault).__name__)
        if supervisor.draining():
            give_up = give_up or time.monotonic() + SETTLE_SECONDS
            if time.monotonic() > give_up:
                return None
        time.sleep(PEEK_SECONDS)


def _settle_once(supervisor: Supervisor, lease: Lease, ending: Ending) -> State:
    wait = supervisor.settings.lease_seconds / BACK_OFF_SHARE
    with transaction(supervisor.engine) as session:
        act = ending.act_in(State(fence(session, lease).state))
        return settle(
            session,
            lease,
            act,
            error=ending.error,
            reason=ending.reason,
            run_after_seconds=wait if act is Act.RETRY_LATER else 0,
        )


def _pass_on(supervisor: Supervisor) -> None:
    """Have the dispatcher nudge anew for the next runnable job: this slot is free."""
    first = next_jobs(Job.id).limit(1).with_for_update(skip_locked=True, key_share=True)
    try:
        with transaction(supervisor.engine) as session:
            session.execute(
                update(Job).where(Job.id == first.scalar_subquery()).values(nudged_at=None)
            )
    except DATABASE_AWAY as fault:
        get_logger().warning("nothing passed on", fault=type(fault).__name__)
