"""Claim, beat, fence, settle and reap on a real PostgreSQL."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app.core import budget as budgets
from app.core.errors import Conflict, Fenced
from app.core.lease import Beat, Lease, beat, fence, progressed, settle
from app.core.models import (
    LEASED,
    Act,
    State,
    after,
)
from app.core.reaping import reap
from tests.execution.leasing import (
    change,
    claimed,
    expire,
    make_runnable,
    maybe_claimed,
    reaped,
    settled,
)
from tests.execution.rows import (
    add_job,
    read_attempts,
    read_events,
    read_job,
)

WAIT = (
    "SELECT extract(epoch FROM run_after - ended_at) FROM jobs JOIN attempts USING (attempt) "
    "WHERE id = :id AND job_id = :id"
)


def test_a_claim_grants_a_lease_and_opens_an_attempt(engine: Engine) -> None:
    job_id = add_job(engine)
    lease = claimed(engine)
    job = read_job(engine, job_id)
    assert (job.state, job.lease_owner, job.claims, job.attempt) == ("running", "w1", 1, 1)
    assert job.started_at is not None
    assert job.lease_expires_at == job.started_at + timedelta(seconds=60)
    assert lease == Lease(job_id, "ws_default", job.lease_token, 1, "w1", None, 0, 0)
    (attempt,) = read_attempts(engine, job_id)
    assert (attempt.owner, attempt.token, attempt.ended_at) == ("w1", lease.token, None)
    assert [event.type for event in read_events(engine, job_id)] == ["state", "claimed"]


def test_nothing_is_claimed_from_an_empty_queue_or_before_run_after(engine: Engine) -> None:
    assert maybe_claimed(engine) is None
    job_id = add_job(engine)
    change(engine, job_id, "run_after = clock_timestamp() + interval '1 minute'")
    assert maybe_claimed(engine) is None


def test_jobs_are_claimed_by_priority_and_then_by_age(engine: Engine) -> None:
    first, second, urgent = add_job(engine), add_job(engine), add_job(engine, priority=1)
    assert [claimed(engine).job_id for _ in range(3)] == [urgent, first, second]


def test_many_claimers_at_once_never_share_a_job(engine: Engine) -> None:
    jobs = {add_job(engine) for _ in range(10)}
    start = threading.Barrier(16)

    def claim_until_empty(n: int) -> list[str]:
        start.wait()
        mine = []
        while lease := maybe_claimed(engine, f"w{n}"):
            mine.append(lease.job_id)
        return mine

    with ThreadPoolExecutor(16) as pool:
        claims = [job for mine in pool.map(claim_until_empty, range(16)) for job in mine]
    assert len(claims) == 10
    assert set(claims) == jobs


def test_a_beat_renews_the_lease_and_tells_how_long_nothing_was_committed(engine: Engine) -> None:
    job_id = add_job(engine)
    lease = claimed(engine)
    change(engine, job_id, "state = 'cancelling', progress_at = progress_at - interval '5 minutes'")
    expire(engine, job_id)
    with Session(engine) as session, session.begin():
        learned = beat(session, lease, ttl_seconds=60)
    assert isinstance(learned, Beat)
    assert learned.state is State.CANCELLING
    assert 300 <= learned.silent_seconds < 330
    assert reaped(engine) == []


def test_a_stale_token_neither_beats_nor_fences_nor_settles(engine: Engine) -> None:
    job_id = add_job(engine)
    old = claimed(engine, "old")
    expire(engine, job_id)
    assert reaped(engine) == [job_id]
    new = claimed(engine, "new")
    with Session(engine) as session:
        assert beat(session, old, ttl_seconds=60) is None
        with pytest.raises(Fenced):
            fence(session, old)
        with pytest.raises(Fenced):
            settle(session, old, Act.FINISH)
        assert fence(session, new).id == job_id
    assert new.token > old.token


def test_a_fence_makes_the_reaper_pass_by(engine: Engine) -> None:
    job_id = add_job(engine)
    lease = claimed(engine)
    expire(engine, job_id)
    with Session(engine) as session:
        fence(session, lease)
        assert reaped(engine) == []
    assert reaped(engine) == [job_id]


@pytest.mark.parametrize(
    ("act", "outcome"),
    [
        (Act.FINISH, "succeeded"),
        (Act.STOP, "stopped"),
        (Act.GIVE_BACK, "given_back"),
        (Act.RETRY_LATER, "error"),
        (Act.FAIL, "failed"),
    ],
)
@pytest.mark.parametrize("state", LEASED)
def test_a_settlement_follows_the_table_and_ends_the_attempt(
    engine: Engine, state: State, act: Act, outcome: str
) -> None:
    job_id = add_job(engine)
    lease = claimed(engine)
    change(engine, job_id, f"state = '{state.value}'")
    if (state, act) == (State.RUNNING, Act.STOP):
        with pytest.raises(Conflict):
            settled(engine, lease, act)
        return
    error = {"code": "x", "detail": "y"} if act in {Act.FAIL, Act.RETRY_LATER} else None
    assert settled(engine, lease, act, error=error, reason="why") is after(state, act)
    job = read_job(engine, job_id)
    assert job.state == after(state, act).value
    assert (job.lease_owner, job.lease_expires_at, job.lease_token) == (None, None, lease.token + 1)
    assert (job.finished_at is not None) == (job.state in {"succeeded", "failed", "cancelled"})
    assert job.error == (None if job.state == "cancelled" else error)
    (attempt,) = read_attempts(engine, job_id)
    assert (attempt.outcome, attempt.ended_at is not None) == (outcome, True)
    last = read_events(engine, job_id)[-1]
    expected = {"from": state.value, "to": job.state, "reason": "why", "actor": "w1"}
    assert last.type == "state"
    assert last.data == expected | ({"error": error} if error else {})


def test_a_job_given_back_is_runnable_at_once_with_its_counters_unchanged(engine: Engine) -> None:
    job_id = add_job(engine, failures=2, stalls=1)
    settled(engine, claimed(engine), Act.GIVE_BACK)
    job = read_job(engine, job_id)
    assert (job.failures, job.stalls, job.nudged_at) == (2, 1, None)
    assert claimed(engine).attempt == 2


def test_a_retry_waits_and_the_third_error_in_a_row_fails(engine: Engine) -> None:
    job_id = add_job(engine)
    error = {"code": "oops", "detail": "It broke."}
    for _ in range(2):
        lease = claimed(engine)
        state = settled(engine, lease, Act.RETRY_LATER, error=error, run_after_seconds=30)
        assert state is State.QUEUED
        assert maybe_claimed(engine) is None
        make_runnable(engine, job_id)
    state = settled(engine, claimed(engine), Act.RETRY_LATER, error=error, run_after_seconds=30)
    assert state is State.FAILED
    assert read_job(engine, job_id).error == error


def test_progress_makes_errors_and_losses_count_anew(engine: Engine) -> None:
    job_id = add_job(engine, failures=2, stalls=2)
    lease = claimed(engine)
    with Session(engine) as session, session.begin():
        progressed(session, fence(session, lease))
    job = read_job(engine, job_id)
    assert (job.failures, job.stalls) == (0, 0)
    assert job.progress_at is not None
    assert job.started_at is not None
    assert job.progress_at > job.started_at
    assert settled(engine, lease, Act.RETRY_LATER, error={}) is State.QUEUED


def test_a_lost_lease_goes_on_at_once_and_later_losses_wait_longer(engine: Engine) -> None:
    job_id = add_job(engine)
    waits = []
    for _ in range(3):
        claimed(engine)
        expire(engine, job_id)
        assert reaped(engine, ttl=0.6, max_stalls=9) == [job_id]
        with engine.connect() as connection:
            waits.append(connection.scalar(text(WAIT), {"id": job_id}))
        make_runnable(engine, job_id)
    assert [float(wait) for wait in waits] == pytest.approx([0, 0.1, 0.3])
    assert [attempt.outcome for attempt in read_attempts(engine, job_id)] == ["lost"] * 3


def test_a_job_that_kills_its_workers_fails_and_names_the_phase(engine: Engine) -> None:
    job_id = add_job(engine)
    for _ in range(3):
        make_runnable(engine, job_id)
        claimed(engine)
        change(engine, job_id, "phase = 'learning'")
        expire(engine, job_id)
        reaped(engine)
    job = read_job(engine, job_id)
    assert job.state == "failed"
    assert job.error is not None
    assert (job.error["code"], job.error["phase"]) == ("worker_lost_repeatedly", "learning")
    assert job.lease_owner is None


@pytest.mark.parametrize(
    ("state", "expected"), [("pausing", "paused"), ("cancelling", "cancelled")]
)
def test_a_loss_ends_what_was_asked_for(engine: Engine, state: str, expected: str) -> None:
    job_id = add_job(engine, stalls=7)
    claimed(engine)
    change(engine, job_id, f"state = '{state}'")
    expire(engine, job_id)
    assert reaped(engine) == [job_id]
    assert read_job(engine, job_id).state == expected


def test_after_a_start_of_the_database_nothing_is_reaped_for_one_lease(engine: Engine) -> None:
    job_id = add_job(engine)
    claimed(engine)
    expire(engine, job_id)
    assert reaped(engine, ttl=10 * 365 * 24 * 3600) == []
    assert reaped(engine) == [job_id]


def test_reaping_takes_the_oldest_first_and_no_more_than_a_page(engine: Engine) -> None:
    jobs = [add_job(engine) for _ in range(3)]
    for job_id in jobs:
        claimed(engine)
        expire(engine, job_id)
    with Session(engine) as session, session.begin():
        assert reap(session, ttl_seconds=0.1, max_stalls=3, limit=2) == jobs[:2]
    assert reaped(engine) == jobs[2:]


def test_what_was_in_flight_counts_as_spent_when_a_lease_ends(engine: Engine) -> None:
    spent = budgets.settle(budgets.new_budget({"judge_tokens": 100}), {}, {"judge_tokens": 10})
    budget = budgets.reserve(spent, {"judge_tokens": 5})
    job_id = add_job(engine, budget=budget)
    settled(engine, claimed(engine), Act.GIVE_BACK)
    line = read_job(engine, job_id).budget["judge_tokens"]
    assert line == {"cap": 100, "spent": 15, "reserved": 0}


def test_a_lease_takes_its_time_on_each_rank(engine: Engine) -> None:
    job_id = add_job(engine, resolved={"engine": {"ranks": 3}})
    lease = claimed(engine)
    past = "UPDATE attempts SET started_at = clock_timestamp() - interval '20 seconds'"
    with engine.begin() as connection:
        connection.execute(text(past))
    settled(engine, lease, Act.GIVE_BACK)
    assert 60 <= read_job(engine, job_id).budget["compute_micros"]["spent"] / 1e6 < 70
