"""Evaluations in the runner: tiny contestants, the rubric, and judges on loopback HTTP."""

import json
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.core.db import transaction
from app.core.lease import Lease, settle
from app.core.models import Act, ComparisonRow, JudgeCall, Response, ScoreRow
from app.core.spec.catalogue import load_catalogue
from app.core.spec.evaluation import EvaluationSpec
from app.core.spec.job import JobSpec
from app.services import evaluations, jobs
from app.services.reports.evaluation import EvaluationReport, evaluation_report
from tests import factories
from tests.judge_server import Handler, JudgeServer, ranks, running_judge, says, task_of
from tests.run.conftest import job_of
from tests.run.given import dialogues, pairs
from tests.stack.running import write_catalogue
from worker import runner
from worker.blackbox.rubric import points
from worker.cycle.types import Message
from worker.ending import DONE, STOPPED

PROMPTS = 10
TWINS = [{"label": "one", "model": "tiny"}, {"label": "two", "model": "tiny"}]


@pytest.fixture
def compare(operator: Path, engine: Engine) -> Callable[..., str]:
    """Submit a small evaluation; returns its id."""

    def submit(**changes: Any) -> str:
        subsets = ("harmless", "helpful", "helpful")
        values = {
            "prompts": {"dataset": factories.dataset(engine, PROMPTS, subsets=subsets).id},
            "contestants": TWINS,
            "generation": {"max_new_tokens": 8, "max_length": 256},
            "seed": 7,
            **changes,
        }
        spec = EvaluationSpec.model_validate(values)
        with transaction(engine) as session:
            found = load_catalogue(operator)
            return evaluations.submit(session, "ws_default", spec, found).id

    return submit


@pytest.fixture
def work(take: Callable[[], Lease]) -> Callable[[], int]:
    return lambda: runner.work(take(), threading.Event())


@pytest.fixture
def judge(operator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    """An OpenAI-compatible judge of the catalogue."""
    monkeypatch.setenv("JUDGE_KEY", "sk-1")
    with running_judge() as server:
        write_catalogue(operator.parent, tmp_path / "tiny", server.url)
        yield server


def report_of(engine: Engine, job_id: str) -> EvaluationReport:
    with transaction(engine) as session:
        return evaluation_report(session, job_of(engine, job_id))


def saying(verdict: Callable[[dict[str, Any]], str]) -> Callable[[Handler], None]:
    """An act that answers each task as the rule says: a verdict, or text that is none."""

    def act(handler: Handler) -> None:
        said = verdict(task_of(handler.asked)[0])
        known = said in {"first", "second", "tie"}
        says(json.dumps({"reasoning": "r", "verdict": said}) if known else said)(handler)

    return act


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


def test_given_responses_are_valued_and_the_likeliest_is_the_choice(
    engine: Engine, compare: Callable[..., str], work: Callable[[], int]
) -> None:
    """Twins value alike, so the second has paid no tax; the rows' own order tells who is right."""
    job_id = compare(prompts=None, given={"dataset": pairs(engine).id})
    assert work() == DONE
    first, second = (one.given for one in report_of(engine, job_id).contestants)
    assert first is not None
    assert second is not None
    with transaction(engine) as session:
        rows = session.scalars(
            select(ScoreRow).where(ScoreRow.job_id == job_id, ScoreRow.iteration == 0)
        ).all()
    values = {(row.step, row.k): row.value or 0.0 for row in rows}
    right = [values[step, 1] > values[step, 0] for step in range(PROMPTS)]
    assert first.accuracy.value == pytest.approx(sum(right) / PROMPTS)
    logprobs = [values[step, 1] for step in range(PROMPTS)]
    assert first.perplexity == pytest.approx(math.exp(-sum(logprobs) / PROMPTS))
    assert second.accuracy == first.accuracy
    assert second.change.value == 0.0
    assert (first.items, first.missing) == (PROMPTS, 0)


def test_dialogues_have_a_perplexity_and_no_choice(
    engine: Engine, compare: Callable[..., str], work: Callable[[], int]
) -> None:
    job_id = compare(given={"dataset": dialogues(engine).id})
    assert work() == DONE
    report = report_of(engine, job_id)
    given = report.contestants[0].given
    assert given is not None
    assert given.accuracy.value is None
    assert given.perplexity is not None
    assert given.perplexity > 1
    assert report.contestants[0].answers == PROMPTS
    assert job_of(engine, job_id).progress["steps_done"] == 2 * (PROMPTS + 4)


def test_a_reward_model_is_measured_on_rankings_from_elsewhere(
    engine: Engine,
    operator: Path,
    compare: Callable[..., str],
    run_here: Callable[..., int],
    work: Callable[[], int],
) -> None:
    spec = JobSpec.model_validate(
        {
            "model": {"name": "tiny"},
            "prompts": {"dataset": pairs(engine).id},
            "method": {"type": "reward_model", "epochs": 4},
            "optimizer": {"lr": 0.01},
            "generation": {"max_new_tokens": 48, "max_length": 256},
        }
    )
    with transaction(engine) as session:
        trained = jobs.submit(session, "ws_default", spec, load_catalogue(operator)).id
    assert run_here() == DONE
    contestant = {"label": "rm", "checkpoint": job_of(engine, trained).result_checkpoint_id}
    job_id = compare(
        prompts=None,
        contestants=[contestant],
        given={"dataset": pairs(engine, 8).id},
        generation={"max_new_tokens": 48, "max_length": 256},
    )
    assert work() == DONE
    given = report_of(engine, job_id).contestants[0].given
    assert given is not None
    assert given.accuracy.value == 1.0
    assert given.perplexity is None


def test_a_run_s_judge_agrees_with_itself_wholly_and_with_its_reverse_not_at_all(
    engine: Engine,
    judge: JudgeServer,
    compare: Callable[..., str],
    submit: Callable[..., str],
    run_here: Callable[..., int],
    work: Callable[[], int],
) -> None:
    """The run was judged by the rubric in one case, and by its reverse in the other."""
    judge.otherwise = ranks(worst_by_the_rubric)
    for name, pairwise in (("rubric", 1.0), ("endpoint", 0.0)):
        run = submit(judge=name)
        assert run_here() == DONE
        job_id = compare(prompts=None, contestants=[], judged=run, scorers=[{"name": "rubric"}])
        assert work() == DONE
        [quality] = report_of(engine, job_id).judge
        assert {one.label for one in quality.by_iteration} <= {"1", "2"}
        for one in (*quality.by_iteration, *quality.over_steps):
            assert one.pairwise.value is not None
            assert one.pairwise.value == pytest.approx(pairwise, abs=0.5 if pairwise == 0 else 0)
        assert quality.agreement[0].agreement_by_chance < 1
        assert sum(one.rankings for one in quality.by_iteration) > 0
        assert job_of(engine, job_id).progress["steps_done"] == sum(
            one.rankings for one in quality.by_iteration
        )


def worst_by_the_rubric(task: dict[str, Any]) -> list[int]:
    messages = tuple(Message(turn["role"], turn["content"]) for turn in task["dialogue"])
    worth = {
        one["id"]: sum(points(messages, one["response"]).values()) for one in task["candidates"]
    }
    return sorted(worth, key=lambda k: (worth[k], k))


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


def test_a_judged_run_s_scores_are_not_the_contestants_own(
    engine: Engine,
    compare: Callable[..., str],
    submit: Callable[..., str],
    run_here: Callable[..., int],
    work: Callable[[], int],
) -> None:
    run = submit()
    assert run_here() == DONE
    job_id = compare(judged=run, scorers=[{"name": "rubric"}])
    assert work() == DONE
    for one in report_of(engine, job_id).contestants:
        assert (one.scores[0].total.n, one.scores[0].missing) == (PROMPTS, 0)
