"""What a runner's end means for its job: real stand-in programs, on a real PostgreSQL."""

import json
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.execution.rows import read_job
from tests.execution.stage import (
    READ_LEASE,
    SETTLES,
    Stage,
)


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
