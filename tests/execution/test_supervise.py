"""The supervisor with real stand-in programs as runners, on a real PostgreSQL."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
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
grant.pop("parent_pid")
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
                "stall_seconds": 60.0,
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


@pytest.fixture
def stage(engine: Engine, database_url: str, tmp_path: Path) -> Stage:
    return Stage(engine, database_url, tmp_path)


def test_the_runner_reads_its_lease_as_one_line_of_json(stage: Stage) -> None:
    program = READ_LEASE + "(here / 'grant').write_text(json.dumps(grant))\nsys.exit(10)\n"
    stage.play(program)
    job = read_job(stage.engine, stage.job_id)
    assert json.loads((stage.folder / "grant").read_text()) == {
        "job_id": stage.job_id,
        "workspace_id": "ws_default",
        "token": job.lease_token - 1,
        "attempt": 1,
        "owner": "w1",
        "checkpoint_id": None,
        "round": 0,
        "update": 0,
        "parent_pid": os.getpid(),
    }


def test_a_runner_that_settles_and_ends_leaves_a_job_that_succeeded(
    stage: Stage, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    stage.play(READ_LEASE + SETTLES)
    assert (stage.state(), stage.outcome()) == ("succeeded", "succeeded")


def test_a_runner_that_settles_and_lingers_is_not_taken_for_a_lost_one(
    stage: Stage, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    stage.play(READ_LEASE + SETTLES + "time.sleep(30)\n")
    assert (stage.state(), stage.outcome()) == ("succeeded", "succeeded")


def test_a_runner_that_says_done_without_settling_is_tried_again(stage: Stage) -> None:
    stage.play(READ_LEASE)
    assert (stage.state(), stage.error()["code"]) == ("queued", "unsettled")


@pytest.mark.parametrize(("code", "state"), [(20, "queued"), (21, "failed")])
def test_the_last_words_of_a_runner_become_the_error(stage: Stage, code: int, state: str) -> None:
    said = 'print("loading"); print(json.dumps({"code": "no_disk", "detail": "full\\0"}))\n'
    stage.play(READ_LEASE + said + f"sys.exit({code})\n")
    assert stage.state() == state
    assert stage.error() == {"code": "no_disk", "detail": "full"}


def test_a_retry_waits_a_sixth_of_the_lease(stage: Stage) -> None:
    stage.play(READ_LEASE + "sys.exit(20)\n")
    with stage.engine.connect() as connection:
        wait = connection.scalar(
            text("SELECT extract(epoch FROM run_after - ended_at) FROM jobs, attempts")
        )
    assert wait is not None
    assert float(wait) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("sys.exit(3)\n", "exit code 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)\n", "signal 9"),
        ("os.kill(os.getpid(), signal.SIGSEGV)\n", "signal 11"),
    ],
)
def test_a_runner_that_dies_is_a_lost_worker(stage: Stage, program: str, said: str) -> None:
    stage.play(READ_LEASE + program)
    assert stage.state() == "queued"
    assert stage.error()["code"] == "worker_lost"
    assert said in stage.error()["detail"]


def test_a_program_that_never_reads_its_lease_is_a_lost_worker_too(stage: Stage) -> None:
    stage.play("import sys; sys.exit(1)\n")
    assert (stage.state(), stage.error()["code"]) == ("queued", "worker_lost")


def test_a_loud_runner_is_not_blocked(stage: Stage) -> None:
    loud = "print('x' * 5_000_000)\nprint('y\\n' * 200_000)\nsys.exit(10)\n"
    stage.play(READ_LEASE + loud)
    assert (stage.state(), stage.outcome()) == ("queued", "given_back")


@pytest.mark.parametrize(("asked", "state"), [("cancelling", "cancelled"), ("pausing", "paused")])
def test_a_runner_is_asked_to_stop_when_a_user_asks_the_job_to(
    stage: Stage, asked: str, state: str
) -> None:
    with stage.playing(STOPS_WHEN_ASKED) as pid:
        stage.change(f"state = '{asked}'")
        eventually(lambda: stage.state() == state, 5)
    assert not is_alive(pid)
    assert stage.outcome() == "stopped"


def test_a_runner_that_ignores_the_asking_is_killed_after_the_grace(stage: Stage) -> None:
    with stage.playing(IGNORES_SIGTERM) as pid:
        asked = time.monotonic()
        stage.change("state = 'cancelling'")
        eventually(lambda: stage.state() == "cancelled", 6)
    assert 1 <= time.monotonic() - asked < 5
    assert not is_alive(pid)


def test_what_a_runner_started_ends_with_it(stage: Stage) -> None:
    child = "import subprocess\nchild = subprocess.Popen(['sleep', '60'])\n"
    leave = "(here / 'pid').write_text(str(child.pid))\nsys.exit(10)\n"
    stage.play(READ_LEASE + child + leave)
    pid = stage.runner()
    assert pid is not None
    assert not is_alive(pid)


def test_a_fenced_runner_is_killed_at_once_and_nothing_is_settled(stage: Stage) -> None:
    with stage.playing(IGNORES_SIGTERM) as pid:
        stage.change("lease_token = lease_token + 1, lease_owner = 'another'")
        eventually(lambda: not is_alive(pid), 3)
    job = read_job(stage.engine, stage.job_id)
    assert (job.state, job.lease_owner) == ("running", "another")
    assert [event.type for event in read_events(stage.engine, stage.job_id)] == ["state", "claimed"]


def test_a_runner_without_progress_is_killed_though_the_supervisor_beats(stage: Stage) -> None:
    with stage.playing(STOPS_WHEN_ASKED) as pid:
        stage.change("progress_at = progress_at - interval '10 minutes'")
        eventually(lambda: stage.state() == "queued", 5)
    assert stage.error()["code"] == "stalled"
    assert not is_alive(pid)


def test_a_hung_transaction_of_the_runner_does_not_hold_up_the_supervisor(stage: Stage) -> None:
    with stage.playing(STOPS_WHEN_ASKED) as pid, stage.engine.connect() as connection:
        connection.execute(
            text("UPDATE jobs SET progress_at = progress_at - interval '10 minutes'")
        )
        connection.commit()
        connection.execute(text("SELECT 1 FROM jobs FOR NO KEY UPDATE"))
        eventually(lambda: not is_alive(pid), 8)
        connection.rollback()
    assert (stage.state(), stage.error()["code"]) == ("queued", "stalled")


def test_beats_outlast_the_lease(stage: Stage) -> None:
    with stage.playing(STOPS_WHEN_ASKED):
        first = read_job(stage.engine, stage.job_id).lease_expires_at
        time.sleep(1.5)
        later = read_job(stage.engine, stage.job_id).lease_expires_at
        stage.change("state = 'cancelling'")
    assert first is not None
    assert later is not None
    assert (later - first).total_seconds() >= 1


@pytest.mark.parametrize("program", [STOPS_WHEN_ASKED, IGNORES_SIGTERM])
def test_a_draining_worker_gives_its_job_back_with_counters_unchanged(
    stage: Stage, program: str
) -> None:
    stage.change("failures = 1, stalls = 2")
    with stage.playing(program) as pid:
        stage.drain.set()
        eventually(lambda: stage.state() == "queued", 5)
    job = read_job(stage.engine, stage.job_id)
    assert (job.failures, job.stalls, job.nudged_at) == (1, 2, None)
    assert stage.outcome() == "given_back"
    assert not is_alive(pid)


def test_a_draining_worker_claims_nothing(stage: Stage) -> None:
    stage.drain.set()
    stage.play(READ_LEASE)
    assert stage.state() == "queued"


def test_a_supervisor_without_a_database_claims_nothing_and_does_not_fail(tmp_path: Path) -> None:
    settings = Settings(database_url=f"postgresql+psycopg://postgres@/x?host={tmp_path}")
    supervisor = Supervisor(open_engine(settings), settings, "w1", lambda: False)
    assert work_once(supervisor) is None


def test_a_cut_connection_costs_the_runner_nothing(stage: Stage) -> None:
    cut = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid != pg_backend_pid()"
    )
    with stage.playing(STOPS_WHEN_ASKED) as pid:
        for _ in range(5):
            with stage.engine.begin() as connection:
                connection.execute(cut)
            time.sleep(0.3)
        assert is_alive(pid)
        stage.change("state = 'cancelling'")
        eventually(lambda: stage.state() == "cancelled", 8)


def test_a_free_slot_has_the_next_job_nudged_anew(stage: Stage) -> None:
    waiting = add_job(stage.engine, priority=200)
    with stage.engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET nudged_at = clock_timestamp()"))
    stage.play(READ_LEASE + "sys.exit(21)\n")
    assert read_job(stage.engine, waiting).nudged_at is None


SUPERVISES = """
import sys
from app.core.settings import Settings
from worker.supervise import Supervisor, open_engine, work_once
settings = Settings(database_url=sys.argv[1])
command = (sys.executable, sys.argv[2], sys.argv[3])
work_once(Supervisor(open_engine(settings), settings, "w1", lambda: False, command))
"""
TIED = (
    READ_LEASE
    + "from app.core.process import die_with_parent\ndie_with_parent(grant['parent_pid'])\n"
    + READY
    + SLEEP
)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_a_killed_supervisor_takes_its_runner_along(
    stage: Stage, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    script = stage.folder / "runner.py"
    script.write_text(TIED)
    command = [sys.executable, "-c", SUPERVISES, database_url, str(script), str(stage.folder)]
    with subprocess.Popen(command) as supervisor:
        pid = eventually(stage.runner)
        assert is_alive(pid)
        supervisor.kill()
    eventually(lambda: not is_alive(pid), 3)


@pytest.mark.parametrize("module", ["worker.main", "worker.supervise", "app.dispatcher"])
def test_no_tensor_library_enters_a_process_that_only_supervises(module: str) -> None:
    look = f"import sys, {module}; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0


def test_sigterm_before_the_runner_listens_is_a_stop_not_a_loss(stage: Stage) -> None:
    with stage.playing(READ_LEASE + READY + SLEEP):
        stage.drain.set()
    assert (stage.state(), stage.outcome()) == ("queued", "given_back")
