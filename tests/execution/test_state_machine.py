"""The table of transitions as a whole, and the life of a job on a real PostgreSQL."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app.core.errors import Conflict, Fenced
from app.core.lease import Lease, beat, claim, move, settle
from app.core.models import LEASED, TERMINAL, Act, Job, State, after, allowed_actions
from app.core.models.job import REPEATS, TRANSITIONS, USER_ACTS
from app.core.reaping import reap
from tests.execution.rows import add_job, read_attempts, read_events, read_job
from tests.long import examples

ENDS = (Act.FINISH, Act.STOP, Act.GIVE_BACK, Act.RETRY_LATER, Act.LOSE, Act.FAIL)


@pytest.mark.parametrize("act", Act)
@pytest.mark.parametrize("state", State)
def test_a_move_leads_to_a_state_or_is_a_conflict_that_names_the_way_out(
    state: State, act: Act
) -> None:
    if (state, act) in TRANSITIONS or (state, act) in REPEATS:
        assert isinstance(after(state, act), State)
        return
    with pytest.raises(Conflict) as conflict:
        after(state, act)
    assert conflict.value.code == "invalid_state"
    assert conflict.value.facts["allowed_actions"] == list(allowed_actions(state))


@pytest.mark.parametrize("act", USER_ACTS)
@pytest.mark.parametrize("state", State)
def test_an_action_repeated_changes_nothing_more(state: State, act: Act) -> None:
    if (state, act) in TRANSITIONS:
        reached = TRANSITIONS[state, act]
        assert after(reached, act) is reached


@pytest.mark.parametrize("state", State)
def test_only_leased_states_end_attempts_and_only_a_claim_begins_one(state: State) -> None:
    for act in ENDS:
        assert ((state, act) in TRANSITIONS) <= (state in LEASED)
    leased = {act for act in Act if TRANSITIONS.get((state, act)) in LEASED}
    assert (state in LEASED) or leased <= {Act.CLAIM}


@pytest.mark.parametrize("state", LEASED)
def test_every_leased_job_survives_the_loss_of_its_worker(state: State) -> None:
    assert after(state, Act.LOSE) not in LEASED


@pytest.mark.parametrize("state", TERMINAL)
def test_an_ended_job_changes_only_by_a_retry(state: State) -> None:
    assert {act for act in Act if (state, act) in TRANSITIONS} <= {Act.RETRY}


def test_a_cancelled_job_is_never_queued_again_by_a_worker() -> None:
    assert all(after(State.CANCELLING, act) in TERMINAL for act in ENDS)


STEPS = st.lists(
    st.sampled_from(
        [
            *("claim", "beat", "expire", "reap", "wait"),
            *(f"user {act.value}" for act in USER_ACTS),
            *(f"{which} {act.value}" for act in ENDS for which in ("newest", "stale")),
        ]
    ),
    min_size=examples(0, 20),
    max_size=25,
)


class Life:
    """One job and every lease it ever had; `do` takes any step, in any order."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.job_id = add_job(engine)
        self.leases: list[Lease] = []

    def do(self, step: str) -> None:
        with suppress(Conflict, Fenced), Session(self.engine) as session, session.begin():
            kind, _, name = step.partition(" ")
            getattr(self, kind)(session, *([Act(name)] if name else []))

    def claim(self, session: Session) -> None:
        lease = claim(session, owner=f"w{len(self.leases)}", ttl_seconds=60)
        self.leases += [lease] if lease else []

    def beat(self, session: Session) -> None:
        for lease in self.leases:
            beat(session, lease, ttl_seconds=60)

    def reap(self, session: Session) -> None:
        reap(session, ttl_seconds=0.01, max_stalls=3)

    def expire(self, session: Session) -> None:
        past = "UPDATE jobs SET lease_expires_at = clock_timestamp() - interval '1 second'"
        session.execute(text(f"{past} WHERE lease_owner IS NOT NULL"))

    def wait(self, session: Session) -> None:
        session.execute(text("UPDATE jobs SET run_after = clock_timestamp()"))

    def user(self, session: Session, act: Act) -> None:
        job = session.get_one(Job, self.job_id, with_for_update=True)
        move(session, job, act, actor="user", reason="")

    def newest(self, session: Session, act: Act) -> None:
        for lease in self.leases[-1:]:
            settle(session, lease, act)

    def stale(self, session: Session, act: Act) -> None:
        for lease in self.leases[:-1]:
            settle(session, lease, act)


@settings(
    max_examples=examples(60, 500),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
def test_whatever_happens_the_log_replays_to_the_row(engine: Engine, steps: list[str]) -> None:
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE jobs, attempts, job_events CASCADE"))
    life = Life(engine)
    token = 0
    for step in steps:
        life.do(step)
        job = read_job(engine, life.job_id)
        assert job.lease_token >= token
        token = job.lease_token
    events = [e.data for e in read_events(engine, life.job_id) if e.type == "state"]
    assert [e["from"] for e in events] == ["queued", *(e["to"] for e in events)][: len(events)]
    assert job_state(events) == read_job(engine, life.job_id).state
    attempts = read_attempts(engine, life.job_id)
    assert [a.attempt for a in attempts] == list(range(1, len(attempts) + 1))
    assert [a.token for a in attempts] == sorted({a.token for a in attempts})
    leased = job_state(events) in LEASED
    assert [a.ended_at is None for a in attempts] == [False] * (len(attempts) - leased) + (
        [True] if leased else []
    )


def job_state(events: list[dict[str, Any]]) -> str:
    return str(events[-1]["to"]) if events else "queued"
