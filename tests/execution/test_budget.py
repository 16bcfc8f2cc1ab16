"""Whatever is asked, answered, lost or killed: what is spent and reserved stays within the cap."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app.core import budget as budgets
from app.core.errors import BudgetReached
from app.core.lease import Lease, claim, settle
from app.core.models import Act
from app.core.reaping import reap
from app.core.spec.budget import BudgetSpec
from tests.execution.rows import add_job, read_job
from tests.long import examples
from worker.cycle.types import At, Reply
from worker.ledger.book import Book
from worker.ledger.judging import Asked, Cost, JudgeLedger

CAPS = {"judge_calls": 10, "judge_tokens": 1000, "judge_cost_micros": 500}
MOST = {"judge_calls": 1, "judge_tokens": 160, "judge_cost_micros": 90}


def test_a_budget_in_units_of_its_own() -> None:
    spec = BudgetSpec.model_validate_json(
        '{"max_judge_cost": "2.50", "max_judge_calls": 7, "max_compute_seconds": 1.5}'
    )
    assert spec.caps() == {
        "judge_cost_micros": 2_500_000,
        "judge_calls": 7,
        "compute_micros": 1_500_000,
    }


def test_what_fits_is_reserved_and_what_was_used_takes_its_place() -> None:
    budget = budgets.reserve(budgets.new_budget({"judge_tokens": 100}), {"judge_tokens": 60})
    assert budgets.left(budget, "judge_tokens") == 40
    with pytest.raises(BudgetReached, match="may take 60 of judge_tokens; of 100, 0 are spent"):
        budgets.reserve(budget, {"judge_tokens": 60})
    budget = budgets.settle(budget, {"judge_tokens": 60}, {"judge_tokens": 25})
    assert budget["judge_tokens"] == {"cap": 100, "spent": 25, "reserved": 0}
    assert budgets.left(budget, "judge_calls") is None


@pytest.mark.parametrize(("spent", "passing"), [(40, True), (41, False)])
def test_a_refusal_says_whether_waiting_could_help(spent: int, passing: bool) -> None:
    lines = budgets.new_budget({"judge_tokens": 100})
    lines["judge_tokens"] |= {"spent": spent, "reserved": 50}
    with pytest.raises(BudgetReached) as refused:
        budgets.reserve(lines, {"judge_tokens": 60})
    assert refused.value.facts == {"passing": passing}


class Asking:
    """One job, its judge ledger, and the posts that are in flight."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.job_id = add_job(engine, budget=budgets.new_budget(CAPS))
        self.flying: list[tuple[At, Asked, int]] = []
        self.asked = 0
        self.lease = self.claimed()

    def claimed(self) -> Lease:
        with Session(self.engine) as session, session.begin():
            session.execute(text("UPDATE jobs SET run_after = clock_timestamp()"))
            lease = claim(session, owner="w", ttl_seconds=60)
        assert lease is not None
        return lease

    @property
    def ledger(self) -> JudgeLedger:
        return JudgeLedger(Book(self.engine, self.lease))

    def ask(self, share: float) -> None:
        self.asked += 1
        most = {unit: max(1, int(amount * share)) for unit, amount in MOST.items()}
        at = At("align", self.asked, 0)
        asked = Asked(f"{self.job_id}{self.asked}", "j", "", {}, most=most)
        try:
            self.flying.append((at, asked, self.ledger.begin(at, asked)))
        except BudgetReached:
            return

    def answer(self, share: float) -> None:
        for at, asked, number in self.flying[:1]:
            tokens = int(asked.most["judge_tokens"] * share)
            cost = Cost(int(asked.most["judge_cost_micros"] * share), "USD")
            known = Reply("[]", "stop", tokens_in=tokens, tokens_out=0)
            silent = Reply("[]", "stop")
            reply = silent if share < 0.1 else known
            self.ledger.done(at, asked, number, reply, cost, 0.1)
        del self.flying[:1]

    def fail(self, share: float) -> None:
        for at, asked, number in self.flying[:1]:
            self.ledger.failed(at, asked, number, "timeout", "", 0.1, maybe_paid=share > 0.5)
        del self.flying[:1]

    def crash(self, _: float) -> None:
        """The worker dies with its posts in flight, and another takes over."""
        with Session(self.engine) as session, session.begin():
            past = "UPDATE jobs SET lease_expires_at = clock_timestamp() - interval '1 second'"
            session.execute(text(f"{past} WHERE lease_owner IS NOT NULL"))
        with Session(self.engine) as session, session.begin():
            reap(session, ttl_seconds=0.01, max_stalls=1000)
        self.flying.clear()
        self.lease = self.claimed()

    def drain(self, _: float) -> None:
        with Session(self.engine) as session, session.begin():
            settle(session, self.lease, Act.GIVE_BACK)
        self.flying.clear()
        self.lease = self.claimed()


STEPS = st.tuples(
    st.sampled_from(["ask", "ask", "ask", "answer", "answer", "fail", "crash", "drain"]),
    st.floats(0, 1, allow_subnormal=False),
)


@settings(
    max_examples=examples(40, 1000),
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, min_size=8, max_size=24))
def test_no_schedule_of_asking_and_dying_exceeds_a_cap(
    engine: Engine, steps: list[tuple[str, float]]
) -> None:
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE jobs, attempts, job_events, judge_calls CASCADE"))
    job = Asking(engine)
    spent = dict.fromkeys(CAPS, 0)
    for step, share in steps:
        getattr(job, step)(share)
        budget = read_job(engine, job.job_id).budget
        for unit, cap in CAPS.items():
            line = budget[unit]
            assert line["spent"] + line["reserved"] <= cap
            assert line["reserved"] == sum(asked.most[unit] for _, asked, _ in job.flying)
            assert line["spent"] >= spent[unit]
            spent[unit] = line["spent"]
