"""Real Celery workers and a real dispatcher, with a stand-in runner, over each broker."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app.core.lease import claim
from tests.execution.rows import add_job, read_job

pytestmark = pytest.mark.stack
T = TypeVar("T")

WORKER = """
import sys
from worker.main import make_app
make_app((sys.executable, sys.argv[1])).worker_main(["worker", "--loglevel=WARNING"])
"""
RUNNER = """
import json, signal, sys, time
from app.core.db import get_engine, transaction
from app.core.lease import Lease, settle
from app.core.models import Act, Job
grant = json.loads(sys.stdin.readline())
signal.signal(signal.SIGTERM, lambda *_: sys.exit(10))
with transaction(get_engine()) as session:
    name = session.get_one(Job, grant["job_id"]).name
if name == "long":
    time.sleep(60)
with transaction(get_engine()) as session:
    settle(session, Lease(**grant), Act.FINISH)
"""
QUICK = {
    "LEASE_SECONDS": "2",
    "HEARTBEAT_SECONDS": "0.5",
    "REAP_SECONDS": "0.5",
    "DISPATCH_SECONDS": "0.1",
    "RENUDGE_SECONDS": "1",
    "STOP_GRACE_SECONDS": "2",
}


def eventually(look: Callable[[], T | None], seconds: float = 20) -> T:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come")


class Stack:
    """Starts workers and dispatchers on one database."""

    def __init__(self, engine: Engine, folder: Path, env: dict[str, str]) -> None:
        self.engine = engine
        self.folder = folder
        self.env = env
        (folder / "runner.py").write_text(RUNNER)
        (folder / "start_worker.py").write_text(WORKER)

    @contextmanager
    def running(self, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        log = (self.folder / "log").open("ab")
        process = subprocess.Popen([sys.executable, *command], env=self.env, stderr=log, stdout=log)
        with log, process:
            try:
                yield process
            finally:
                process.kill()

    def worker(self) -> AbstractContextManager[subprocess.Popen[bytes]]:
        return self.running(str(self.folder / "start_worker.py"), str(self.folder / "runner.py"))

    def dispatcher(self) -> AbstractContextManager[subprocess.Popen[bytes]]:
        return self.running("-m", "app.dispatcher")

    def wait_for(self, job_id: str, state: str, seconds: float = 20) -> None:
        try:
            eventually(lambda: read_job(self.engine, job_id).state == state, seconds)
        except AssertionError:
            log = (self.folder / "log").read_text()[-3000:]
            raise AssertionError(f"{read_job(self.engine, job_id).state}\n{log}") from None

    def scalar(self, sql: str) -> object:
        with self.engine.connect() as connection:
            return connection.scalar(text(sql))


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


@pytest.fixture
def env(database_url: str) -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    given = {name: value for name, value in os.environ.items() if name != "BROKER_URL"}
    return given | QUICK | {"DATABASE_URL": database_url, "PYTHONPATH": root}


@pytest.fixture
def stack(engine: Engine, tmp_path: Path, env: dict[str, str]) -> Stack:
    return Stack(engine, tmp_path, env)


@pytest.fixture
def redis(env: dict[str, str], tmp_path: Path) -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server on this machine")
    port = free_port()
    command = [program, "--port", str(port), "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        env["BROKER_URL"] = f"redis://127.0.0.1:{port}/0"
        try:
            yield program
        finally:
            server.kill()


def test_jobs_run_and_outlive_all_that_can_be_cut_or_killed(stack: Stack) -> None:
    with ExitStack() as running:
        running.enter_context(stack.dispatcher())
        worker = running.enter_context(stack.worker())
        jobs = [add_job(stack.engine) for _ in range(2)]
        for job in jobs:
            stack.wait_for(job, "succeeded")

        stack.scalar(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid != pg_backend_pid()"
        )
        stack.wait_for(add_job(stack.engine), "succeeded")

        long = add_job(stack.engine, name="long")
        stack.wait_for(long, "running")
        worker.kill()
        stack.wait_for(long, "queued")
        assert read_job(stack.engine, long).stalls == 1

        replacement = running.enter_context(stack.worker())
        stack.wait_for(long, "running")
        replacement.send_signal(signal.SIGTERM)
        stack.wait_for(long, "queued", 6)
        assert read_job(stack.engine, long).stalls == 1
        assert replacement.wait(10) == 0
        delivered = "SELECT count(*) FROM kombu_message WHERE NOT visible"
        eventually(lambda: stack.scalar(delivered) == 0)


def test_a_worker_tells_that_it_lives_and_that_it_leaves(stack: Stack) -> None:
    with stack.worker() as worker:
        eventually(lambda: stack.scalar("SELECT count(*) FROM workers WHERE NOT draining"))
        worker.send_signal(signal.SIGTERM)
        worker.wait(15)
    assert stack.scalar("SELECT count(*) FROM workers") == 0


def test_of_two_dispatchers_one_acts_and_the_other_takes_over(stack: Stack) -> None:
    held = (
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
        "WHERE locktype = 'advisory' AND granted AND datname = current_database()"
    )
    with stack.dispatcher() as first:
        eventually(lambda: stack.scalar(held))
        with stack.dispatcher() as second:
            time.sleep(1)
            assert stack.scalar(held) == 1
            first.send_signal(signal.SIGTERM)
            assert first.wait(5) == 0
            eventually(lambda: stack.scalar(held))
            second.send_signal(signal.SIGTERM)
            assert second.wait(5) == 0


@pytest.mark.broker
def test_jobs_run_over_redis(stack: Stack, redis: str) -> None:
    with stack.dispatcher(), stack.worker():
        stack.wait_for(add_job(stack.engine), "succeeded")


def test_reaping_goes_on_while_the_broker_is_away(stack: Stack, env: dict[str, str]) -> None:
    env["BROKER_URL"] = f"redis://127.0.0.1:{free_port()}/0"
    lost = add_job(stack.engine)
    with Session(stack.engine) as session, session.begin():
        assert claim(session, owner="gone", ttl_seconds=0.1) is not None
    add_job(stack.engine)
    with stack.dispatcher():
        stack.wait_for(lost, "queued")
