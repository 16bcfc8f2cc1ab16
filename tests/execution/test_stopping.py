"""Runners that are stopped, killed, cut off or left behind, on a real PostgreSQL."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from app.core.settings import Settings
from tests.execution.rows import add_job, read_events, read_job
from tests.execution.stage import (
    IGNORES_SIGTERM,
    READ_LEASE,
    READY,
    SLEEP,
    STOPS_WHEN_ASKED,
    Stage,
    eventually,
    is_alive,
)
from worker.supervise import Supervisor, open_engine, work_once


@pytest.mark.parametrize(("asked", "state"), [("cancelling", "cancelled"), ("pausing", "paused")])
def test_a_runner_is_asked_to_stop_when_a_user_asks_the_job_to(
    stage: Stage, asked: str, state: str
) -> None:
    with stage.playing(STOPS_WHEN_ASKED) as pid:
        stage.change(f"state = '{asked}'")
        eventually(lambda: stage.state() == state, 5)
    assert not is_alive(pid)
    assert stage.outcome() == "stopped"


def test_a_runner_that_is_asked_to_pause_may_take_its_time(stage: Stage) -> None:
    """Longer than the grace of a stop: its checkpoint comes first."""
    keeps = "signal.signal(signal.SIGUSR1, lambda *_: (time.sleep(2.5), sys.exit(10)))\n"
    with stage.playing(READ_LEASE + keeps + READY + SLEEP) as pid:
        asked = time.monotonic()
        stage.change("state = 'pausing'")
        eventually(lambda: stage.state() == "paused", 8)
    assert time.monotonic() - asked > 2.5
    assert not is_alive(pid)
    assert stage.outcome() == "stopped"


KEEPS = "signal.signal(signal.SIGUSR1, lambda *_: (time.sleep(1.5), sys.exit(10)))\n"


def test_a_draining_worker_lets_the_round_end_before_it_gives_the_job_back(stage: Stage) -> None:
    """Longer than the grace of a stop, and shorter than the drain."""
    with stage.playing(READ_LEASE + KEEPS + READY + SLEEP):
        asked = time.monotonic()
        stage.drain.set()
        eventually(lambda: stage.state() == "queued", 6)
    assert time.monotonic() - asked > 1.5
    assert stage.outcome() == "given_back"


def test_a_runner_pauses_before_its_seconds_are_used_up(stage: Stage) -> None:
    stage.budget(seconds=6)
    with stage.playing(READ_LEASE + KEEPS + READY + SLEEP):
        eventually(lambda: stage.state() == "paused", 8)
    job = read_job(stage.engine, stage.job_id)
    assert job.error is not None
    assert job.error["code"] == "budget_reached"
    assert job.budget["compute_micros"]["spent"] < 6_500_000


def test_a_runner_whose_round_does_not_end_is_stopped_when_its_seconds_are_used_up(
    stage: Stage,
) -> None:
    stage.budget(seconds=3)
    deaf = "signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n"
    with stage.playing(STOPS_WHEN_ASKED.replace(READY, deaf + READY)):
        eventually(lambda: stage.state() == "paused", 8)
    assert read_job(stage.engine, stage.job_id).budget["compute_micros"]["spent"] < 4_500_000


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


def test_each_phase_may_have_a_limit_of_its_own(stage: Stage) -> None:
    with stage.playing(STOPS_WHEN_ASKED) as pid:
        stage.change("phase = 'loading', progress_at = progress_at - interval '10 minutes'")
        time.sleep(2)
        assert is_alive(pid)
        stage.change("phase = 'sampling'")
        eventually(lambda: stage.state() == "queued", 5)
    assert "while sampling" in stage.error()["detail"]


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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_a_killed_supervisor_takes_its_runner_along(
    stage: Stage, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    script = stage.folder / "runner.py"
    script.write_text(READ_LEASE + READY + SLEEP)
    command = [sys.executable, "-c", SUPERVISES, database_url, str(script), str(stage.folder)]
    with subprocess.Popen(command) as supervisor:
        pid = eventually(stage.runner)
        assert is_alive(pid)
        supervisor.kill()
    eventually(lambda: not is_alive(pid), 3)


def test_sigterm_before_the_runner_listens_is_a_stop_not_a_loss(stage: Stage) -> None:
    with stage.playing(READ_LEASE + READY + SLEEP):
        stage.drain.set()
    assert (stage.state(), stage.outcome()) == ("queued", "given_back")
