"""Evaluations of what is there already: given responses, and the rankings of another run."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.core.db import transaction
from app.core.models import ScoreRow
from app.core.spec.catalogue import load_catalogue
from app.core.spec.job import JobSpec
from app.services import jobs
from tests.judge_server import JudgeServer, ranks
from tests.run.conftest import job_of
from tests.run.contests import PROMPTS, report_of
from tests.run.given import dialogues, pairs
from worker.blackbox.rubric import points
from worker.cycle.types import Message
from worker.ending import DONE


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


def test_responses_are_chosen_by_letter_and_have_no_perplexity(
    engine: Engine, compare: Callable[..., str], work: Callable[[], int]
) -> None:
    job_id = compare(prompts=None, given={"dataset": pairs(engine).id, "form": "letters"})
    assert work() == DONE
    given = report_of(engine, job_id).contestants[0].given
    assert given is not None
    assert (given.items, given.missing) == (PROMPTS, 0)
    assert given.accuracy.value is not None
    assert given.perplexity is None


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
