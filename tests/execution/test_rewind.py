"""A claim goes back to the newest whole checkpoint, on a real PostgreSQL."""

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from app.core.models import (
    REWOUND,
    Act,
    JobEvent,
    JudgeCall,
    JudgeQuestion,
)
from tests.execution.leasing import (
    change,
    claimed,
    settled,
)
from tests.execution.rows import (
    add_checkpoint,
    add_job,
    read_attempts,
    read_events,
    read_job,
    run_rows,
)


def rounds_left(engine: Engine, job_id: str) -> dict[str, list[int]]:
    with Session(engine) as session:
        return {
            table.__tablename__: sorted(
                session.scalars(select(table.round).where(table.job_id == job_id))
            )
            for table in REWOUND
        }


def with_three_rounds(engine: Engine) -> str:
    job_id = add_job(engine, round=3, update=3, progress={"steps_done": 3})
    with Session(engine) as session, session.begin():
        for round_ in (1, 2, 3):
            session.add_all(run_rows(job_id, round_))
    return job_id


def test_a_claim_rewinds_to_the_newest_whole_checkpoint(engine: Engine) -> None:
    other, job_id = with_three_rounds(engine), with_three_rounds(engine)
    change(engine, other, "priority = 200")
    add_checkpoint(engine, job_id, round=1)
    kept = add_checkpoint(engine, job_id, round=2, metrics={"progress": {"steps_done": 2}})
    add_checkpoint(engine, job_id, round=3, state="corrupt")
    lease = claimed(engine)
    assert (lease.checkpoint_id, lease.round, lease.update) == (kept, 2, 2)
    job = read_job(engine, job_id)
    assert (job.round, job.update, job.progress) == (2, 2, {"steps_done": 2})
    assert all(rounds == [1, 2] for rounds in rounds_left(engine, job_id).values())
    assert all(rounds == [1, 2, 3] for rounds in rounds_left(engine, other).values())
    event = read_events(engine, job_id)[-1]
    assert (event.type, event.data["round"], event.data["undone"]) == ("rewound", 2, 3)
    assert read_attempts(engine, job_id)[0].from_checkpoint_id == kept


def test_without_a_checkpoint_a_claim_rewinds_to_the_start(engine: Engine) -> None:
    job_id = with_three_rounds(engine)
    lease = claimed(engine)
    assert (lease.checkpoint_id, lease.round, lease.update) == (None, 0, 0)
    assert read_job(engine, job_id).progress == {}
    assert all(rounds == [] for rounds in rounds_left(engine, job_id).values())


def test_a_rewinding_keeps_what_was_paid_for_and_the_log(engine: Engine) -> None:
    job_id = with_three_rounds(engine)
    settled(engine, claimed(engine), Act.GIVE_BACK)
    claimed(engine)
    with Session(engine) as session:
        for table in (JudgeCall, JudgeQuestion):
            assert session.scalar(select(func.count()).select_from(table)) == 3
        seqs = list(session.scalars(select(JobEvent.seq).order_by(JobEvent.seq)))
    assert seqs == list(range(1, 7))
    assert [event.type for event in read_events(engine, job_id)] == [
        *("state", "claimed", "rewound", "state", "state", "claimed")
    ]
