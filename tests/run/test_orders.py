"""A run whose judge is asked in several orders, through the ledger and over loopback HTTP."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.core.db import transaction
from app.core.models import JudgeCall, JudgeQuestion, Metric, RankingRow
from app.services.metrics import MEANING
from tests.judge_server import Handler, JudgeServer, after, ranks, says, task_of
from tests.run.conftest import job_of
from tests.run.contests import report_of
from tests.run.test_asked_again import as_presented, by_text
from tests.run.test_runner import rows, weights
from worker.ending import DONE

CONSISTENCY = "judge/position_consistency"


@pytest.fixture
def align(submit: Callable[..., str], run_here: Callable[..., int]) -> Callable[..., str]:
    """Run a small job with the endpoint as its judge, in three orders; returns its id."""

    def run(**changes: Any) -> str:
        job_id = submit(**{"judge": "endpoint", "orders": 3, **changes})
        assert run_here() == DONE
        return job_id

    return run


def asked(engine: Engine, job_id: str) -> list[RankingRow]:
    """The iterations that came before the judge."""
    return [row for row in rows(engine, RankingRow, job_id) if row.presented]


def consistencies(engine: Engine, job_id: str) -> dict[int, float | None]:
    """The points of the metric by the weights version."""
    query = select(Metric).where(Metric.job_id == job_id, Metric.name == CONSISTENCY)
    with transaction(engine) as session:
        return {row.update: row.value for row in session.scalars(query)}


def stumbling(handler: Handler) -> None:
    """Say nothing useful to the first order, which alone asks for a response."""
    _, wants_response = task_of(handler.asked)
    (says("Hm.") if wants_response else ranks(by_text))(handler)


def test_each_order_is_a_call_of_its_own_and_its_verdict_is_kept(
    engine: Engine, judge: JudgeServer, align: Callable[..., str]
) -> None:
    judge.otherwise = ranks(as_presented)
    job_id = align()
    calls = rows(engine, JudgeCall, job_id)
    found = asked(engine, job_id)
    for row in found:
        first, size = row.presented, len(row.presented)
        shifts = [first[by:] + first[:by] for by in range(size)]
        assert row.orders is not None
        assert [order["presented"] for order in row.orders] == shifts
        assert [order["black_box"] for order in row.orders] == [[[k] for k in s] for s in shifts]
        assert all(order["raw_reply"] and order["fault"] is None for order in row.orders)
        assert row.black_box == [sorted(first)]
        here = [c for c in calls if (c.step, c.iteration) == (row.step, row.iteration)]
        assert sorted(call.try_ for call in here) == list(range(1, size + 1))
        assert len({call.key for call in here}) == size
    assert {len(row.presented) for row in found} >= {3}
    assert len(judge.posts) == len(calls) == sum(len(row.presented) for row in found)
    assert job_of(engine, job_id).usage["judge_posts"] == len(calls)


def test_a_judge_of_places_is_found_out_by_its_consistency(
    engine: Engine, judge: JudgeServer, align: Callable[..., str]
) -> None:
    """Two of three cyclic orders share one pair in three; both orders of two share none."""
    judge.otherwise = ranks(as_presented)
    job_id = align()
    by_size = {2: 0.0, 3: pytest.approx(1 / 3)}
    found = asked(engine, job_id)
    expected = {row.update: by_size[len(row.presented)] for row in found}
    assert consistencies(engine, job_id) == expected
    assert None not in expected
    mean = sum(1 / 3 for row in found if len(row.presented) == 3) / len(found)
    progress = job_of(engine, job_id).progress
    assert progress["position_consistency_mean"] == pytest.approx(mean)
    assert CONSISTENCY in MEANING


def test_it_is_found_out_where_nothing_can_be_learnt_too(
    engine: Engine, judge: JudgeServer, align: Callable[..., str]
) -> None:
    judge.otherwise = ranks(as_presented)
    job_id = align(method={"teacher": "off"})
    assert {row.outcome for row in asked(engine, job_id)} == {"nothing_ordered"}
    assert list(consistencies(engine, job_id)) == [0]
    assert job_of(engine, job_id).progress["position_consistency_mean"] < 0.34


def test_a_judge_of_texts_is_consistent_and_one_order_tells_nothing_of_it(
    engine: Engine, judge: JudgeServer, align: Callable[..., str]
) -> None:
    judge.otherwise = ranks(by_text)
    several, one = align(), align(orders=1)
    assert set(consistencies(engine, several).values()) == {1.0}
    assert consistencies(engine, one) == {}
    assert {row.orders for row in rows(engine, RankingRow, one)} == {None}
    assert "position_consistency_mean" not in job_of(engine, one).progress
    rankings = [[row.black_box for row in asked(engine, job)] for job in (several, one)]
    assert rankings[0] == rankings[1]
    assert weights(engine, several) == weights(engine, one)


def test_the_orders_of_a_prompt_are_asked_at_once(
    judge: JudgeServer, align: Callable[..., str]
) -> None:
    judge.otherwise = after(0.2, ranks(by_text))
    align(method={"concurrency": 1})
    assert judge.most_in_flight == 3


def test_a_job_asked_for_again_asks_nothing_and_ends_in_the_same_bits(
    engine: Engine, judge: JudgeServer, align: Callable[..., str]
) -> None:
    judge.otherwise = ranks(by_text)
    first = align()
    posts = len(judge.posts)
    second = align()
    assert len(judge.posts) == posts
    assert {call.kind for call in rows(engine, JudgeCall, second)} == {"reuse"}
    told = [[(r.orders, r.black_box, r.round) for r in asked(engine, j)] for j in (first, second)]
    assert told[0] == told[1]
    assert weights(engine, first) == weights(engine, second)


def test_an_order_that_cannot_be_read_is_kept_beside_those_that_count(
    engine: Engine,
    judge: JudgeServer,
    align: Callable[..., str],
    compare: Callable[..., str],
    work: Callable[[], int],
) -> None:
    judge.otherwise = stumbling
    job_id = align()
    for row in asked(engine, job_id):
        assert row.orders is not None
        assert (row.fault, row.raw_reply, row.teacher) == (None, "Hm.", None)
        assert row.orders[0]["fault"] == "not_json"
        assert row.orders[0]["black_box"] is None
        assert [order["black_box"] for order in row.orders[1:]] == [row.black_box] * (
            len(row.orders) - 1
        )
    judged = compare(prompts=None, contestants=[], judged=job_id, consistency={"n": 4})
    assert work() == DONE
    found = report_of(engine, judged).consistency
    assert found is not None
    assert (found.again.asked, found.again.unreadable, found.again.exact.value) == (4, 0, 1.0)
    with transaction(engine) as session:
        again = session.scalars(select(JudgeQuestion).where(JudgeQuestion.repeat == 1)).all()
    assert len(again) == 4
    assert not any('"response": "..."' in str(question.request) for question in again)
