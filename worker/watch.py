"""A runner under watch: its lease is renewed, and it is asked to pause, to stop, or killed.

While the database does not answer, the runner goes on computing (it can commit and pay nothing)
and the watch asks again; only a lease seen to be another's kills it unheard.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import inf
from subprocess import Popen, TimeoutExpired
from threading import Thread

from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.core.db import transaction
from app.core.lease import OUTCOMES, Beat, Lease, beat, fence, move, peek
from app.core.logging import get_logger
from app.core.models import Act, Attempt, State
from app.core.process import kill_group, oom_kills
from app.core.settings import Settings
from worker.ending import PAUSE, Ending, budget_reached, ending_of, stalled

LOOK_SECONDS = 0.25
PEEK_SECONDS = 1.0
MAX_LINE = 1 << 16
MARGIN_SHARE = 0.25
"""Of what its budget lets an attempt compute, the last part is for ending the round."""
DATABASE_AWAY = (OperationalError, InterfaceError, PoolTimeoutError)


@dataclass
class Watch:
    """One attempt, from the hand-over of its lease to its end; times are of the monotonic clock.

    `draining` says whether the worker shuts down.
    """

    engine: Engine
    settings: Settings
    draining: Callable[[], bool]
    lease: Lease
    process: Popen[bytes]
    began: float = 0.0
    oom_kills: int = 0
    stop_at: float = inf
    """When a runner that was asked to pause is asked to stop, whatever is lost by that."""
    kill_at: float = inf
    next_beat: float = 0.0
    next_peek: float = 0.0
    away: bool = False
    pausing: bool = False

    def until_end(self) -> Ending | None:
        """Watch the runner until it ends or must be ended; None if there is nothing to settle."""
        self.began, self.oom_kills = time.monotonic(), oom_kills()
        output = _LastLine(self.process)
        output.start()
        self._hand_over()
        while True:
            try:
                code = self.process.wait(LOOK_SECONDS)
            except TimeoutExpired:
                verdict = self._look(time.monotonic())
                if verdict is not None:
                    return verdict.ending
            else:
                return self._end_of(code, output)

    def _hand_over(self) -> None:
        """Write the lease to the runner's standard input; it may be dead already."""
        assert self.process.stdin is not None
        try:
            with self.process.stdin as pipe:
                pipe.write(json.dumps(asdict(self.lease)).encode() + b"\n")
        except BrokenPipeError:
            get_logger().warning("the runner died before it read its lease")

    def _end_of(self, code: int, output: "_LastLine") -> Ending | None:
        kill_group(self.process)
        output.join(1)
        asked, starved = self.pausing or self.kill_at < inf, oom_kills() > self.oom_kills
        return ending_of(code, output.line, asked=asked, oom_killed=starved)

    def _look(self, now: float) -> "_Verdict | None":
        if self.draining():
            self._ask_to_pause()
            self.stop_at = min(self.stop_at, now + self.settings.drain_seconds)
        if now >= self.stop_at:
            self._ask_to_stop(now)
        if now >= self.kill_at:
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
        with transaction(self.engine) as session:
            learned = peek(session, self.lease)
        if learned is None or now < self.next_beat or self._is_silent(learned):
            return learned
        with transaction(self.engine) as session:
            renewed = beat(session, self.lease, ttl_seconds=self.settings.lease_seconds)
        self.next_beat = now + self.settings.heartbeat_seconds
        return renewed

    def _judge(self, learned: Beat | None, now: float) -> "_Verdict | None":
        if learned is None:
            return self._judge_fenced(now)
        if self._is_silent(learned):
            return _Verdict(stalled(learned.silent_seconds, learned.phase))
        self._bound(learned, now)
        if learned.state is State.PAUSING:
            self._ask_to_pause()
        elif learned.state is not State.RUNNING:
            self._ask_to_stop(now)
        return None

    def _judge_fenced(self, now: float) -> "_Verdict | None":
        """The lease is gone: because the runner settled and is about to end, or to another."""
        if self._was_settled():
            self.kill_at = min(self.kill_at, now + self.settings.stop_grace_seconds)
            return None
        get_logger().warning("fenced", job=self.lease.job_id, attempt=self.lease.attempt)
        return _Verdict(None)

    def _was_settled(self) -> bool:
        key = (self.lease.job_id, self.lease.attempt)
        not_by_the_runner = {None, OUTCOMES[Act.LOSE], OUTCOMES[Act.EXPIRE]}
        with transaction(self.engine) as session:
            return session.get_one(Attempt, key).outcome not in not_by_the_runner

    def _is_silent(self, learned: Beat) -> bool:
        return learned.silent_seconds > self.settings.stall_limit(learned.phase)

    def _bound(self, learned: Beat, now: float) -> None:
        """Pause in time for the round to be kept within the budget; stop where it ends."""
        if learned.compute_seconds is None:
            return
        left = learned.compute_seconds - (now - self.began)
        if left > min(self.settings.drain_seconds, learned.compute_seconds * MARGIN_SHARE):
            return
        if learned.state is State.RUNNING:
            self._pause_for_budget()
        self.stop_at = min(self.stop_at, now + max(0.0, left))

    def _pause_for_budget(self) -> None:
        error = budget_reached()
        with transaction(self.engine) as session:
            job = fence(session, self.lease)
            if State(job.state) is State.RUNNING:
                move(session, job, Act.PAUSE, actor="worker", reason=error["code"], error=error)
                job.error = error

    def _ask_to_pause(self) -> None:
        """However long its round takes; one that hangs is seen by its silence."""
        if not self.pausing:
            self.pausing = True
            self.process.send_signal(PAUSE)

    def _ask_to_stop(self, now: float) -> None:
        if self.kill_at == inf:
            self.kill_at = now + self.settings.stop_grace_seconds
            self.process.terminate()


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


@dataclass(frozen=True)
class _Verdict:
    """The runner must end now; `ending` is what to settle, if anything."""

    ending: Ending | None
