"""Evaluations in the runner: tiny contestants, the rubric, and judges on loopback HTTP."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.core.db import transaction
from app.core.lease import Lease, settle
from app.core.models import Act, ComparisonRow, JudgeCall, Response, ScoreRow
from tests import factories
from tests.judge_server import Handler, JudgeServer, says, task_of
from tests.run.conftest import job_of
from tests.run.contests import PROMPTS, TWINS, report_of, saying
from tests.run.given import dialogues
from worker import runner
from worker.ending import DONE, STOPPED


def test_answers_are_scored_by_subset_and_in_total(
    engine: Engine, compare: Callable[..., str], work: Callable[[], int]
) -> None:
    job_id = compare(scorers=[{"name": "rubric"}], samples_per_prompt=2)
    assert work() == DONE
    job, report = job_of(engine, job_id), report_of(engine, job_id)
    assert job.state == "succeeded"
    assert job.progress["steps_done"] == job.steps_total == 2 * PROMPTS * 2
    assert report.complete
    with transaction(engine) as session:
        values = [
            (row.step, row.value or 0.0)
            for row in session.scalars(
                select(ScoreRow).where(ScoreRow.job_id == job_id, ScoreRow.iteration == 0)
            )
        ]
    [scores] = report.contestants[0].scores
    assert len(values) == 2 * PROMPTS
    assert scores.total.value == pytest.approx(100 * sum(v for _, v in values) / len(values))
    harmless = [value for step, value in values if step % 3 == 0]
    assert scores.subsets["harmless"].n == 4
    assert scores.subsets["harmless"].value == pytest.approx(100 * sum(harmless) / len(harmless))
    assert report.contestants[0].answers == 2 * PROMPTS
    assert scores.missing == 0


def test_a_judge_that_always_prefers_the_first_answer_makes_ties_alone(
    engine: Engine, judge: JudgeServer, compare: Callable[..., str], work: Callable[[], int]
) -> None:
    judge.otherwise = saying(lambda _: "first")
    job_id = compare(pairwise={"judge": {"name": "endpoint"}})
    assert work() == DONE
    [duel] = report_of(engine, job_id).comparisons
    assert (duel.record.tie, duel.record.invalid) == (PROMPTS, 0)
    assert duel.record.position_consistency == 0.0
    assert duel.winner is None
    assert len(judge.posts) == 2 * PROMPTS


def test_a_model_compared_with_itself_hardly_ever_wins(
    engine: Engine, compare: Callable[..., str], work: Callable[[], int]
) -> None:
    """Fifteen times the same model: 105 comparisons, each answer with luck of its own."""
    many = [{"label": f"twin {k}", "model": "tiny"} for k in range(15)]
    job_id = compare(contestants=many, pairwise={"judge": {"name": "rubric"}})
    assert work() == DONE
    duels = report_of(engine, job_id).comparisons
    assert len(duels) == 105
    assert any(duel.record.win != duel.record.lose for duel in duels)
    assert sum(duel.winner is not None for duel in duels) <= 5


def test_replies_that_cannot_be_read_are_invalid_and_no_ties(
    engine: Engine, judge: JudgeServer, compare: Callable[..., str], work: Callable[[], int]
) -> None:
    """Two of ten prompts: the judge rambles about them, when asked again as well."""
    rambling = {"prompt 3", "prompt 8"}

    def verdict(task: dict[str, Any]) -> str:
        known = task["dialogue"][-1]["content"] not in rambling
        return ("first" if task["first"] > task["second"] else "second") if known else "Hm."

    judge.otherwise = saying(verdict)
    job_id = compare(pairwise={"judge": {"name": "endpoint"}})
    assert work() == DONE
    [duel] = report_of(engine, job_id).comparisons
    assert duel.record.invalid == 2
    assert duel.record.win + duel.record.lose == PROMPTS - 2
    assert duel.record.position_consistency == 1.0
    assert len(judge.posts) == 2 * PROMPTS + 4
    with transaction(engine) as session:
        rows = session.scalars(select(ComparisonRow).where(ComparisonRow.job_id == job_id)).all()
    assert {row.fault for row in rows if row.verdict == "invalid"} == {"not_json"}
    assert all(row.raw_reply for row in rows)


def test_ratings_follow_the_answers_and_not_their_places(
    engine: Engine, judge: JudgeServer, compare: Callable[..., str], work: Callable[[], int]
) -> None:
    def rate(handler: Handler) -> None:
        task, _ = task_of(handler.asked)
        scores = [9, 2] if task["first"] > task["second"] else [2, 9]
        says(json.dumps({"reasoning": "r", "scores": scores}))(handler)

    judge.otherwise = rate
    job_id = compare(pairwise={"judge": {"name": "endpoint"}, "form": "rate"})
    assert work() == DONE
    [duel] = report_of(engine, job_id).comparisons
    assert duel.rating_left is not None
    assert duel.rating_right is not None
    left = (9 * duel.record.win + 2 * duel.record.lose) / PROMPTS
    assert duel.rating_left.value == pytest.approx(left)
    assert duel.rating_right.value == pytest.approx(11 - left)


def test_every_strategy_answers_and_the_baseline_meets_all_others(
    engine: Engine, compare: Callable[..., str], work: Callable[[], int]
) -> None:
    examples = {"dataset": dialogues(engine).id, "n": 2}
    contestants = [
        {"label": "plain", "model": "tiny"},
        {"label": "shown", "model": "tiny", "strategy": "icl", "examples": examples},
        {"label": "thinking", "model": "tiny", "strategy": "cot"},
    ]
    job_id = compare(
        contestants=contestants, pairwise={"judge": {"name": "rubric"}, "baseline": "shown"}
    )
    assert work() == DONE
    report = report_of(engine, job_id)
    assert [one.answers for one in report.contestants] == [PROMPTS] * 3
    assert [(d.left, d.right) for d in report.comparisons] == [
        ("shown", "plain"),
        ("shown", "thinking"),
    ]


@pytest.mark.parametrize("events", [3, 14, 25, 38])
def test_a_stopped_evaluation_goes_on_where_it_was(
    events: int,
    engine: Engine,
    compare: Callable[..., str],
    take: Callable[[], Lease],
    work: Callable[[], int],
) -> None:
    asked = {"scorers": [{"name": "rubric"}], "pairwise": {"judge": {"name": "rubric"}}}
    broken = compare(**asked)
    lease = take()
    job = job_of(engine, broken)
    assert runner.evaluate(lease, job, threading.Event(), events) == STOPPED
    kept = {(r.step, r.iteration): r.created_at for r in answers(engine, broken)}
    with transaction(engine) as session:
        settle(session, lease, Act.GIVE_BACK)
    assert work() == DONE
    after = {(r.step, r.iteration): r.created_at for r in answers(engine, broken)}
    assert len(after) == 2 * PROMPTS
    assert kept.items() <= after.items()
    report = report_of(engine, broken)
    assert job_of(engine, broken).progress["steps_done"] == job.steps_total
    whole = compare(**asked)
    assert work() == DONE
    unbroken = report_of(engine, whole)
    assert report == unbroken


def answers(engine: Engine, job_id: str) -> list[Response]:
    with transaction(engine) as session:
        return list(session.scalars(select(Response).where(Response.job_id == job_id)))


def test_what_was_paid_is_not_paid_again_by_an_equal_evaluation(
    engine: Engine, judge: JudgeServer, compare: Callable[..., str], work: Callable[[], int]
) -> None:
    judge.otherwise = saying(lambda _: "tie")
    prompts = {"dataset": factories.dataset(engine, 4).id}
    for _ in range(2):
        job_id = compare(prompts=prompts, pairwise={"judge": {"name": "endpoint"}})
        assert work() == DONE
    assert len(judge.posts) == 8
    with transaction(engine) as session:
        kinds = session.scalars(select(JudgeCall.kind).where(JudgeCall.job_id == job_id)).all()
    assert set(kinds) == {"reuse"}


def test_an_endpoint_answers_beside_a_model_and_what_it_leaves_out_is_missing(
    engine: Engine, judge: JudgeServer, compare: Callable[..., str], work: Callable[[], int]
) -> None:
    """A filter withholds its answer to the last prompt."""

    def answer(handler: Handler) -> None:
        asked = handler.asked["messages"][-1]["content"]
        filtered = asked == f"prompt {PROMPTS - 1}"
        said = says(None, finish="content_filter") if filtered else says(f"On {asked}: well.")
        said(handler)

    judge.otherwise = answer
    job_id = compare(
        contestants=[TWINS[0], {"label": "remote", "endpoint": "endpoint"}],
        scorers=[{"name": "rubric"}],
        pairwise={"judge": {"name": "rubric"}},
    )
    assert work() == DONE
    assert all("response_format" not in post.body for post in judge.posts)
    local, remote = report_of(engine, job_id).contestants
    assert (local.answers, local.missing) == (PROMPTS, 0)
    assert (remote.answers, remote.missing) == (PROMPTS - 1, 1)
    assert remote.scores[0].missing == 0
    [duel] = report_of(engine, job_id).comparisons
    assert duel.winner is None
    assert duel.record.why == f"1 of {PROMPTS} pairs are not compared yet"
    texts = {row.text for row in answers(engine, job_id) if row.iteration == 1}
    assert "On prompt 0: well." in texts
