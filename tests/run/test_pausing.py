"""Pausing keeps the round that is running, and the job goes on as if it had not paused."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.core.db import transaction
from app.core.lease import Lease, settle
from app.core.models import Act, Checkpoint, JobEvent, RankingRow, State
from app.services import jobs
from tests.run.conftest import job_of
from tests.run.test_runner import rows, weights
from worker import runner
from worker.ending import DONE, STOPPED

RARE = {"every_rounds": 1000, "keep": 1}
"""Without a pause there would be no checkpoint before the end."""

OTHERS_OFF = dict.fromkeys(("length", "equal", "diversity", "phrase", "skipped"))


@pytest.fixture
def run_until_kept(engine: Engine, take: Callable[[], Lease]) -> Callable[..., int]:
    """Run the next job until it ends or pauses; settle as a supervisor does."""

    def run_one() -> int:
        lease = take()
        code = runner.run(runner.open_run(lease, threading.Event()))
        if code == STOPPED:
            with transaction(engine) as session:
                settle(session, lease, Act.STOP)
        return code

    return run_one


def act(engine: Engine, job_id: str, do: Callable[..., Any]) -> str:
    with transaction(engine) as session:
        return str(do(session, "ws_default", job_id).state)


@pytest.mark.parametrize("lanes", [1, 3])
def test_a_job_paused_after_each_round_ends_like_one_that_never_paused(
    lanes: int,
    engine: Engine,
    submit: Callable[..., str],
    take: Callable[[], Lease],
    run_here: Callable[..., int],
) -> None:
    unbroken = submit(method={"concurrency": lanes}, checkpoints=RARE)
    assert run_here() == DONE
    paused = submit(method={"concurrency": lanes}, checkpoints=RARE)
    pauses = 0
    while job_of(engine, paused).state != "succeeded":
        lease, pausing = take(), threading.Event()
        act(engine, paused, jobs.pause)
        pausing.set()
        opened = replace(runner.open_run(lease, threading.Event()), pausing=pausing)
        if runner.run(opened) == STOPPED:
            with transaction(engine) as session:
                assert settle(session, lease, Act.STOP) is State.PAUSED
            pauses += 1
            assert act(engine, paused, jobs.resume) == "queued"
    assert pauses > 1
    kept = {name: sha256 for name, sha256 in weights(engine, paused).items() if "card" not in name}
    assert kept == weights(engine, unbroken)
    assert len(rows(engine, RankingRow, paused)) == len(rows(engine, RankingRow, unbroken))
    with transaction(engine) as session:
        query = select(JobEvent.type).where(JobEvent.job_id == paused)
        assert "rewound" not in set(session.scalars(query))


def test_an_alarm_pauses_the_job_with_what_it_has_just_learnt(
    engine: Engine, submit: Callable[..., str], run_until_kept: Callable[..., int]
) -> None:
    job_id = submit(
        health={"action": "pause", "window": 2, "kl": 1e-6, "kl_every": 1, **OTHERS_OFF},
        optimizer={"lr": 0.05},
        checkpoints=RARE,
    )
    assert run_until_kept() == STOPPED
    job = job_of(engine, job_id)
    assert job.state == "paused"
    with transaction(engine) as session:
        query = select(Checkpoint.round).where(Checkpoint.job_id == job_id)
        kept = session.scalars(query.order_by(Checkpoint.round)).all()
        why = session.scalars(select(JobEvent.message).where(JobEvent.job_id == job_id)).all()
    assert kept[-1] == job.round > 0
    assert any(message.startswith("running → pausing: ") for message in why)
    # a figure alarms once, resumed or not
    act(engine, job_id, jobs.resume)
    assert run_until_kept() == DONE
