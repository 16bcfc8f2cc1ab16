"""Jobs on given responses in the runner: baselines, reward models, and what they judge."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.core.db import transaction
from app.core.lease import Lease
from app.core.models import Checkpoint, JobPrompt, Metric, Response, ScoreRow
from app.core.spec.catalogue import load_catalogue
from app.core.spec.job import JobSpec
from app.services import jobs
from app.services.reports.reward_model import reward_report
from tests.run.conftest import job_of
from tests.run.given import dialogues, pairs
from worker import runner
from worker.ending import DONE, STOPPED


@pytest.fixture
def give(operator: Any, engine: Engine) -> Callable[..., str]:
    """Submit a small job on given responses; returns its id."""

    def submit(dataset: str, method: dict[str, Any], **changes: Any) -> str:
        spec = JobSpec.model_validate(
            {
                "model": {"name": "tiny", "tuning": {"type": "lora", "rank": 4, "alpha": 8.0}},
                "prompts": {"dataset": dataset},
                "method": method,
                "generation": {"max_new_tokens": 48, "max_length": 256},
                "optimizer": {"lr": 0.01},
                "checkpoints": {"every_rounds": 1},
                "seed": 5,
                **changes,
            }
        )
        with transaction(engine) as session:
            return jobs.submit(session, "ws_default", spec, load_catalogue(operator)).id

    return submit


def series(engine: Engine, job_id: str, name: str) -> list[float]:
    query = select(Metric.value).where(Metric.job_id == job_id, Metric.name == name)
    with transaction(engine) as session:
        return [float(v) for v in session.scalars(query.order_by(Metric.update)) if v is not None]


def final_files(engine: Engine, job_id: str) -> dict[str, str]:
    checkpoint = job_of(engine, job_id).result_checkpoint_id
    with transaction(engine) as session:
        files = session.get_one(Checkpoint, checkpoint).manifest["files"]
    return {file["name"]: file["sha256"] for file in files if file["name"] != "README.md"}


OBJECTIVES: list[dict[str, Any]] = [
    {"type": "pro", "lambda": 0.1},
    {"type": "pro", "sft": "sum", "temperature": "none"},
    {"type": "rrhf", "sft": "sum", "lambda": 0.01},
    {"type": "dpo"},
    {"type": "sft"},
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda one: "-".join(map(str, one.values())))
def test_every_objective_learns_from_pairs(
    objective: dict[str, Any],
    engine: Engine,
    give: Callable[..., str],
    run_here: Callable[..., int],
) -> None:
    method = {"type": "ranking", "objective": objective, "epochs": 3, "concurrency": 4}
    job_id = give(pairs(engine).id, method)
    assert run_here() == DONE
    job = job_of(engine, job_id)
    assert job.progress["steps_done"] == 10
    losses = series(engine, job_id, "loss/total")
    assert len(losses) == 30
    assert sum(losses[-10:]) < sum(losses[:10])
    assert "merged/model.safetensors" in final_files(engine, job_id)


def test_a_better_response_becomes_the_likelier_one(
    engine: Engine, give: Callable[..., str], run_here: Callable[..., int]
) -> None:
    method = {"type": "ranking", "objective": {"type": "rrhf"}, "epochs": 4}
    job_id = give(pairs(engine).id, method)
    run_here()
    accuracy = series(engine, job_id, "ranking/accuracy")
    assert sum(accuracy[-10:]) > sum(accuracy[:10])
    assert sum(accuracy[-10:]) >= 9


@pytest.mark.parametrize("make", [dialogues, pairs])
def test_sft_imitates_replies_and_best_responses(
    make: Callable[[Engine], Any],
    engine: Engine,
    give: Callable[..., str],
    run_here: Callable[..., int],
) -> None:
    job_id = give(make(engine).id, {"type": "sft", "epochs": 3})
    assert run_here() == DONE
    losses = series(engine, job_id, "loss/sft")
    assert losses[-1] < losses[0]


def test_held_out_prompts_are_answered_and_scored_before_and_after(
    engine: Engine, give: Callable[..., str], run_here: Callable[..., int]
) -> None:
    from tests import factories  # noqa: PLC0415

    held_out = {"dataset": factories.dataset(engine).id, "samples_per_prompt": 2}
    job_id = give(
        dialogues(engine).id, {"type": "sft"}, judge={"name": "rubric"}, held_out=held_out
    )
    assert run_here() == DONE
    assert job_of(engine, job_id).progress["held_out"]["after"]["n"] == 8
    with transaction(engine) as session:
        stages = list(session.scalars(select(Response.stage).where(Response.job_id == job_id)))
    assert stages.count("held_out_before") == stages.count("held_out_after") == 8


@pytest.mark.parametrize("events", [4, 9, 14])
def test_a_stopped_run_goes_on_to_the_same_weights(
    events: int,
    engine: Engine,
    give: Callable[..., str],
    take: Callable[[], Lease],
    run_here: Callable[..., int],
) -> None:
    dataset = pairs(engine).id
    method = {"type": "ranking", "objective": {"type": "dpo"}, "epochs": 2, "concurrency": 3}
    whole = give(dataset, method)
    assert run_here() == DONE
    broken = give(dataset, method)
    lease = take()
    assert runner.run(runner.open_run(lease, threading.Event()), events) == STOPPED
    from app.core.lease import settle  # noqa: PLC0415
    from app.core.models import Act  # noqa: PLC0415

    with transaction(engine) as session:
        settle(session, lease, Act.GIVE_BACK)
    assert run_here() == DONE
    assert final_files(engine, broken) == final_files(engine, whole)


REWARD = {"type": "reward_model", "epochs": 4, "validation_share": 0.3}


def test_a_reward_model_is_measured_on_prompts_that_it_never_saw(
    engine: Engine, give: Callable[..., str], run_here: Callable[..., int]
) -> None:
    job_id = give(pairs(engine, 12).id, REWARD)
    assert run_here() == DONE
    with transaction(engine) as session:
        job = job_of(engine, job_id)
        report = reward_report(session, job)
        stages = {
            stage: set(
                session.scalars(
                    select(JobPrompt.position).where(
                        JobPrompt.job_id == job_id, JobPrompt.stage == stage
                    )
                )
            )
            for stage in ("align", "validation")
        }
        scores = list(session.scalars(select(ScoreRow).where(ScoreRow.job_id == job_id)))
    # rows 0 and 10, and 1 and 11, have the same prompts
    for one, other in ((0, 10), (1, 11)):
        assert ({one, other} <= stages["align"]) or ({one, other} <= stages["validation"])
    assert report.pairs == len(stages["validation"]) >= 4
    assert report.trained_rows == len(stages["align"])
    assert len(scores) == 2 * 2 * report.pairs
    assert report.accuracy.value == 1.0
    assert report.length_only.value == 1.0
    assert report.length_prefers == "longer"
    assert report.above_length_only.value == 0.0
    assert report.untrained.n == report.pairs


def test_a_reward_model_s_checkpoint_judges_other_jobs(
    engine: Engine,
    give: Callable[..., str],
    submit: Callable[..., str],
    run_here: Callable[..., int],
) -> None:
    trained = give(pairs(engine).id, REWARD)
    assert run_here() == DONE
    checkpoint = job_of(engine, trained).result_checkpoint_id
    job_id = submit(judge_checkpoint=checkpoint)
    assert run_here() == DONE
    job = job_of(engine, job_id)
    assert job.resolved["judge"]["type"] == "reward_model"
    with transaction(engine) as session:
        rows = list(session.scalars(select(Response).where(Response.job_id == job_id)))
    assert {row.score is not None for row in rows if row.merged_into is None} == {True}
