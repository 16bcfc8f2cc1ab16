"""The Celery task's work: claim a job, start its runner, keep the lease, stop it, settle.

The runner is another program and is never imported: no tensor library enters a Celery process.
While the database does not answer, the runner goes on computing (it can commit and pay nothing)
and the supervisor asks again; only a lease seen to be another's kills it unheard.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from os import environ, getpid
from subprocess import PIPE, Popen, TimeoutExpired
from threading import Thread

from sqlalchemy import Engine, create_engine, update
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.core.db import transaction
from app.core.errors import Fenced
from app.core.lease import (
    BACK_OFF_SHARE,
    OUTCOMES,
    Beat,
    Lease,
    beat,
    claim,
    fence,
    peek,
    settle,
)
from app.core.logging import get_logger
from app.core.models import Act, Attempt, Job, State, next_jobs
from app.core.process import kill_group, start_group
from app.core.settings import Settings
from worker.ending import PAUSE, Ending, ending_of, stalled

RUNNER = (sys.executable, "-m", "worker.runner")
RUNNER_DEFAULTS = {"TQDM_DISABLE": "1"}
LOOK_SECONDS = 0.25
PEEK_SECONDS = 1.0
SETTLE_SECONDS = 10.0
"""How long a worker that shuts down tries to hand its job back."""
MAX_LINE = 1 << 16
DATABASE_AWAY = (OperationalError, InterfaceError, PoolTimeoutError)


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
    process = start_group(supervisor.runner, stdin=PIPE, stdout=PIPE, env=RUNNER_DEFAULTS | environ)
    try:
        return _Watch(supervisor, lease, process).until_end()
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


class _LastLine(Thread):
    """Empties the runner's standard output and keeps the last line of it."""

    def __init__(self, process: Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self.process = process
        self.line = b""

    def run(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            while line := output.readline(MAX_LINE):
                self.line = line.strip() or self.line


@dataclass
class _Watch:
    supervisor: Supervisor
    lease: Lease
    process: Popen[bytes]
    stop_by: float | None = None
    next_beat: float = 0.0
    next_peek: float = 0.0
    away: bool = False
    pausing: bool = False

    def until_end(self) -> Ending | None:
        """Watch the runner until it ends or must be ended; None if there is nothing to settle."""
        output = _LastLine(self.process)
        output.start()
        self._hand_over()
        while True:
            try:
                code = self.process.wait(LOOK_SECONDS)
            except TimeoutExpired:
                verdict = self._look()
                if verdict is not None:
                    return verdict.ending
            else:
                return self._end_of(code, output)

    def _hand_over(self) -> None:
        """Write the lease to the runner's standard input; it may be dead already."""
        assert self.process.stdin is not None
        grant = asdict(self.lease) | {"parent_pid": getpid()}
        try:
            with self.process.stdin as pipe:
                pipe.write(json.dumps(grant).encode() + b"\n")
        except BrokenPipeError:
            get_logger().warning("the runner died before it read its lease")

    def _end_of(self, code: int, output: _LastLine) -> Ending | None:
        kill_group(self.process)
        output.join(1)
        return ending_of(code, output.line, asked=self.pausing or self.stop_by is not None)

    def _look(self) -> "_Verdict | None":
        now = time.monotonic()
        if self.supervisor.draining():
            self._ask_to_stop(now)
        if self.stop_by is not None and now >= self.stop_by:
            get_logger().warning("the runner did not stop in time", job=self.lease.job_id)
            kill_group(self.process)
            return None
        if now >= self.next_peek:
            self.next_peek = now + PEEK_SECONDS
            return self._learn(now)
        return None

    def _learn(self, now: float) -> "_Verdict | None":
        """Ask the database how the job stands, and renew the lease where that is due."""
        try:
            learned = self._ask(now)
        except DATABASE_AWAY as fault:
            if not self.away:
                get_logger().warning("the database is away", fault=type(fault).__name__)
            self.away = True
            return None
        self.away = False
        return self._judge(learned, now)

    def _ask(self, now: float) -> Beat | None:
        settings = self.supervisor.settings
        with transaction(self.supervisor.engine) as session:
            learned = peek(session, self.lease)
        if learned is None or now < self.next_beat or self._is_silent(learned):
            return learned
        with transaction(self.supervisor.engine) as session:
            renewed = beat(session, self.lease, ttl_seconds=settings.lease_seconds)
        self.next_beat = now + settings.heartbeat_seconds
        return renewed

    def _judge(self, learned: Beat | None, now: float) -> "_Verdict | None":
        if learned is None:
            return self._judge_fenced(now)
        if self._is_silent(learned):
            return _Verdict(stalled(learned.silent_seconds))
        if learned.state is State.PAUSING:
            self._ask_to_pause()
        elif learned.state is not State.RUNNING:
            self._ask_to_stop(now)
        return None

    def _judge_fenced(self, now: float) -> "_Verdict | None":
        """The lease is gone: because the runner settled and is about to end, or to another."""
        if self._was_settled():
            self.stop_by = now + self.supervisor.settings.stop_grace_seconds
            return None
        get_logger().warning("fenced", job=self.lease.job_id, attempt=self.lease.attempt)
        return _Verdict(None)

    def _was_settled(self) -> bool:
        key = (self.lease.job_id, self.lease.attempt)
        with transaction(self.supervisor.engine) as session:
            return session.get_one(Attempt, key).outcome not in {None, OUTCOMES[Act.LOSE]}

    def _is_silent(self, learned: Beat) -> bool:
        return learned.silent_seconds > self.supervisor.settings.stall_seconds

    def _ask_to_pause(self) -> None:
        """However long its round takes; one that hangs is seen by its silence."""
        if not self.pausing:
            self.pausing = True
            self.process.send_signal(PAUSE)

    def _ask_to_stop(self, now: float) -> None:
        if self.stop_by is None:
            self.stop_by = now + self.supervisor.settings.stop_grace_seconds
            self.process.terminate()


@dataclass(frozen=True)
class _Verdict:
    """The runner must end now; `ending` is what to settle, if anything."""

    ending: Ending | None
