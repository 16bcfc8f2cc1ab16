"""A stage for the supervisor: one job, and stand-in programs as its runner."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Engine, text

from app.core.settings import Settings
from tests.execution.rows import add_job, read_attempts, read_events, read_job
from worker.supervise import Supervisor, open_engine, work_once

T = TypeVar("T")

READ_LEASE = """
import json, os, signal, sys, time
from pathlib import Path
grant = json.loads(sys.stdin.readline())
here = Path(sys.argv[1])
"""
READY = "(here / 'pid').write_text(str(os.getpid()))\n"
SLEEP = "time.sleep(60)\n"
STOPS_WHEN_ASKED = (
    READ_LEASE + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(10))\n" + READY + SLEEP
)
IGNORES_SIGTERM = READ_LEASE + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY + SLEEP
SETTLES = """
from sqlalchemy import create_engine
from app.core.db import transaction
from app.core.lease import Lease, settle
from app.core.models import Act
with transaction(create_engine(os.environ["DATABASE_URL"])) as session:
    settle(session, Lease(**grant), Act.FINISH)
"""


class Stage:
    """One job, one supervisor and a folder in which the stand-in runner leaves its traces."""

    def __init__(self, engine: Engine, url: str, folder: Path, **settings: Any) -> None:
        self.engine = engine
        self.folder = folder
        self.drain = threading.Event()
        self.settings = Settings(
            database_url=url,
            **{
                "lease_seconds": 3.0,
                "heartbeat_seconds": 0.5,
                "stop_grace_seconds": 1.0,
                "drain_seconds": 3.0,
                "stall_seconds": 60.0,
                "stall_seconds_by_phase": {"loading": 3600.0},
                **settings,
            },
        )
        self.job_id = add_job(engine)

    def supervisor(self, program: str) -> Supervisor:
        script = self.folder / "runner.py"
        script.write_text(program)
        engine = open_engine(self.settings)
        command = (sys.executable, str(script), str(self.folder))
        return Supervisor(engine, self.settings, "w1", self.drain.is_set, command)

    def play(self, program: str) -> None:
        supervisor = self.supervisor(program)
        work_once(supervisor)
        supervisor.engine.dispose()

    @contextmanager
    def playing(self, program: str) -> Iterator[int]:
        """Supervise in a thread; hand out the runner's process id once it is ready."""
        supervisor = self.supervisor(program)
        thread = threading.Thread(target=work_once, args=[supervisor])
        thread.start()
        yield eventually(self.runner)
        thread.join(20)
        assert not thread.is_alive()
        supervisor.engine.dispose()

    def runner(self) -> int | None:
        path = self.folder / "pid"
        return int(path.read_text() or 0) or None if path.exists() else None

    def change(self, sql: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(f"UPDATE jobs SET {sql} WHERE id = :id"), {"id": self.job_id})

    def budget(self, *, seconds: int) -> None:
        """Cap the job's seconds of computing."""
        line = f'{{"cap": {seconds}000000, "spent": 0, "reserved": 0}}'
        self.change(f"budget = budget || jsonb_build_object('compute_micros', '{line}'::jsonb)")

    def state(self) -> str:
        return read_job(self.engine, self.job_id).state

    def error(self) -> dict[str, Any]:
        error = read_events(self.engine, self.job_id)[-1].data["error"]
        assert isinstance(error, dict)
        return error

    def outcome(self) -> str | None:
        return read_attempts(self.engine, self.job_id)[-1].outcome


def eventually(look: Callable[[], T | None], seconds: float = 10) -> T:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come")


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
