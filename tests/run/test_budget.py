"""A job that reaches a cap pauses with everything kept, and goes on when the budget is raised."""

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select

from app.core.db import transaction
from app.core.lease import Lease, settle
from app.core.models import Act, JobEvent, JudgeQuestion, State
from app.core.spec.change import JobChange
from app.services import changing
from tests.judge_server import JudgeServer, after, half_a_body, ranks, status
from tests.run.conftest import job_of
from tests.run.test_runner import weights
from worker import runner
from worker.ending import DONE, STOPPED

FEW = {"max_judge_calls": 4}


@pytest.fixture
def run_as_supervised(engine: Engine, take: Callable[[], Lease]) -> Callable[[], int]:
    """Run the next job, and settle a stop as its supervisor does."""

    def run_one() -> int:
        lease = take()
        code = runner.work(lease, threading.Event(), threading.Event())
        if code == STOPPED:
            with transaction(engine) as session:
                settle(session, lease, Act.STOP)
        return code

    return run_one


def change(engine: Engine, job_id: str, **fields: object) -> str:
    with transaction(engine) as session:
        wanted = JobChange.model_validate(fields)
        return changing.change(session, "ws_default", job_id, wanted).state


def spent(engine: Engine, job_id: str, unit: str) -> int:
    line = job_of(engine, job_id).budget[unit]
    assert line["reserved"] == 0
    return int(line["spent"])


@pytest.mark.parametrize("lanes", [1, 6])
def test_a_job_whose_calls_are_used_up_pauses_and_goes_on_to_the_same_end(
    lanes: int,
    engine: Engine,
    submit: Callable[..., str],
    judge: JudgeServer,
    run_as_supervised: Callable[[], int],
) -> None:
    judge.otherwise = after(0.05, ranks())
    lane = {"judge": "endpoint", "method": {"concurrency": lanes}}
    job_id = submit(**lane, budget=FEW)
    assert run_as_supervised() == STOPPED
    job = job_of(engine, job_id)
    assert (job.state, job.error and job.error["code"]) == ("paused", "budget_reached")
    assert len(judge.posts) == spent(engine, job_id, "judge_calls") == 4

    assert change(engine, job_id, budget={"max_judge_calls": 100}) == State.QUEUED
    assert run_as_supervised() == DONE
    assert job_of(engine, job_id).error is None
    asked = len(judge.posts)
    assert spent(engine, job_id, "judge_calls") == asked

    free = submit(**lane)
    with transaction(engine) as session:
        for question in session.scalars(select(JudgeQuestion)):
            session.delete(question)
    assert run_as_supervised() == DONE
    assert len(judge.posts) - asked == asked
    assert weights(engine, free) == weights(engine, job_id)


def test_a_cap_that_is_not_raised_stops_the_job_again_without_a_post(
    engine: Engine,
    submit: Callable[..., str],
    judge: JudgeServer,
    run_as_supervised: Callable[[], int],
) -> None:
    job_id = submit(judge="endpoint", budget=FEW)
    run_as_supervised()
    assert change(engine, job_id, name="another") == State.PAUSED
    assert change(engine, job_id, budget={"max_judge_calls": 4}) == State.PAUSED
    assert change(engine, job_id, budget={"max_judge_calls": 5}) == State.QUEUED
    assert run_as_supervised() == STOPPED
    assert len(judge.posts) == 5


def test_money_is_reserved_for_the_longest_reply_and_never_overspent(
    engine: Engine,
    submit: Callable[..., str],
    judge: JudgeServer,
    run_as_supervised: Callable[[], int],
) -> None:
    """A reply of 100 + 10 tokens costs 15 + 6 micros at 0.15 and 0.60 a million."""
    lanes = {"concurrency": 6}
    job_id = submit(judge="endpoint", method=lanes, budget={"max_judge_cost": "0.0008"})
    assert run_as_supervised() == STOPPED
    cost = spent(engine, job_id, "judge_cost_micros")
    assert cost == 21 * len(judge.posts) <= 800
    with transaction(engine) as session:
        query = select(JobEvent.data).where(JobEvent.job_id == job_id, JobEvent.type == "state")
        told = [event["reason"] for event in session.scalars(query)]
    assert any("of judge_cost_micros; of 800" in reason for reason in told)


def test_a_call_that_was_perhaps_charged_counts_in_full(
    engine: Engine,
    submit: Callable[..., str],
    judge: JudgeServer,
    run_as_supervised: Callable[[], int],
) -> None:
    judge.script.extend([half_a_body, status(503)])
    job_id = submit(judge="endpoint")
    assert run_as_supervised() == DONE
    answered = len(judge.posts) - 2
    assert spent(engine, job_id, "judge_calls") == answered + 1
    assert spent(engine, job_id, "judge_tokens") > 110 * answered + 512


def test_a_refused_key_pauses_the_job_until_somebody_mends_it(
    engine: Engine,
    submit: Callable[..., str],
    judge: JudgeServer,
    run_as_supervised: Callable[[], int],
) -> None:
    judge.script.append(status(401))
    job_id = submit(judge="endpoint")
    assert run_as_supervised() == STOPPED
    job = job_of(engine, job_id)
    assert (job.state, job.error and job.error["code"]) == ("paused", "judge_credential_rejected")
