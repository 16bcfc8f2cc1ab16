"""Deadlines end jobs wherever they are, and only the database's clock decides."""

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app.core.lease import beat
from app.core.reaping import expire
from tests.execution.leasing import claimed
from tests.execution.rows import add_job, read_attempts, read_events, read_job


def put_deadline(engine: Engine, seconds: int) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE jobs SET deadline_at = clock_timestamp() + make_interval(secs => :s)"),
            {"s": seconds},
        )


def expired(engine: Engine) -> list[str]:
    with Session(engine) as session, session.begin():
        return expire(session)


@pytest.mark.parametrize("state", ["queued", "paused"])
def test_a_job_that_waits_fails_at_its_deadline(engine: Engine, state: str) -> None:
    job_id = add_job(engine, state=state)
    put_deadline(engine, 60)
    assert expired(engine) == []
    put_deadline(engine, -1)
    assert expired(engine) == [job_id]
    job = read_job(engine, job_id)
    assert (job.state, job.error and job.error["code"]) == ("failed", "deadline_exceeded")
    assert read_events(engine, job_id)[-1].data["to"] == "failed"
    assert expired(engine) == []


def test_a_running_job_loses_its_lease_at_its_deadline(engine: Engine) -> None:
    job_id = add_job(engine)
    lease = claimed(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET phase = 'sampling'"))
    put_deadline(engine, -1)
    assert expired(engine) == [job_id]
    job = read_job(engine, job_id)
    assert job.error is not None
    assert (job.error["code"], job.error["phase"]) == ("deadline_exceeded", "sampling")
    assert read_attempts(engine, job_id)[-1].outcome == "expired"
    with Session(engine) as session, session.begin():
        assert beat(session, lease, ttl_seconds=60) is None


def test_a_job_that_is_being_cancelled_is_cancelled(engine: Engine) -> None:
    job_id = add_job(engine)
    claimed(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET state = 'cancelling'"))
    put_deadline(engine, -1)
    assert expired(engine) == [job_id]
    assert read_job(engine, job_id).state == "cancelled"
