"""A run that goes wrong says so, and stops if it was told to, with what it has."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.core.db import transaction
from app.core.models import Checkpoint, JobEvent, Metric
from tests.run.conftest import job_of
from worker.ending import DONE, FINAL
from worker.failure import report

HEALTH = {"health/length", "health/equal", "health/diversity", "health/phrase", "health/kl"}


def alarms(engine: Engine, job_id: str) -> list[dict[str, Any]]:
    query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.type == "alarm")
    with transaction(engine) as session:
        return [event.data | {"message": event.message} for event in session.scalars(query)]


def test_a_run_measures_its_health(
    engine: Engine, submit: Callable[..., str], run_here: Callable[..., int]
) -> None:
    job_id = submit(health={"window": 2, "kl_every": 1})
    assert run_here() == DONE
    with transaction(engine) as session:
        rows = session.scalars(select(Metric).where(Metric.job_id == job_id)).all()
    assert {row.name for row in rows} >= HEALTH
    distances = [row.value for row in rows if row.name == "health/kl"]
    assert distances[-1] != pytest.approx(0, abs=1e-6)


def test_an_alarm_is_noted_and_the_run_goes_on(
    engine: Engine, submit: Callable[..., str], run_here: Callable[..., int]
) -> None:
    job_id = submit(health={"window": 2, "kl": 1e-6, "kl_every": 1}, optimizer={"lr": 0.05})
    assert run_here() == DONE
    assert [alarm["name"] for alarm in alarms(engine, job_id)].count("kl") == 1


def test_an_alarm_stops_the_job_with_its_last_checkpoint_kept(
    engine: Engine, submit: Callable[..., str], run_here: Callable[..., int]
) -> None:
    job_id = submit(
        health={"action": "stop", "window": 4, "kl": 1e-6, "kl_every": 1},
        optimizer={"lr": 0.05},
        checkpoints={"every_rounds": 1},
        method={"iterations": 3},
    )
    assert report(run_here) == FINAL
    [*_, alarm] = alarms(engine, job_id)
    job = job_of(engine, job_id)
    assert alarm["name"] == "kl"
    assert "nats a token" in alarm["message"]
    with transaction(engine) as session:
        kept = session.scalars(
            select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.round)
        ).all()
    assert job.result_checkpoint_id == (kept[-1].id if kept else None)


def test_full_tuning_keeps_no_start_model_to_measure_from(
    engine: Engine, submit: Callable[..., str], run_here: Callable[..., int]
) -> None:
    job_id = submit(
        model={"name": "tiny", "tuning": {"type": "full"}}, health={"window": 2, "kl_every": 1}
    )
    assert run_here() == DONE
    with transaction(engine) as session:
        names = set(session.scalars(select(Metric.name).where(Metric.job_id == job_id)))
    assert "health/equal" in names
    assert "health/kl" not in names
