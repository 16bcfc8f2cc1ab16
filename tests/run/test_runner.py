"""A job in the runner, on real PostgreSQL, with a tiny model and the rubric."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.core.db import transaction
from app.core.errors import Fenced
from app.core.lease import Lease, settle
from app.core.models import (
    Act,
    AgreementRow,
    Checkpoint,
    JobEvent,
    JudgeCall,
    JudgeQuestion,
    Metric,
    RankingRow,
    Response,
)
from tests import factories
from tests.run.conftest import job_of
from worker import runner
from worker.cycle.events import RoundEnded
from worker.ending import DONE, STOPPED
from worker.failure import Rejected
from worker.ledger.book import Book


def rows(engine: Engine, table: Any, job_id: str) -> list[Any]:
    with transaction(engine) as session:
        keys = [table.stage, table.step, table.iteration]
        return list(session.scalars(select(table).where(table.job_id == job_id).order_by(*keys)))


def weights(engine: Engine, job_id: str) -> dict[str, str]:
    """Name to sha256 of the final checkpoint's weights and training state."""
    job = job_of(engine, job_id)
    with transaction(engine) as session:
        manifest = session.get_one(Checkpoint, job.result_checkpoint_id).manifest
    return {f["name"]: f["sha256"] for f in manifest["files"] if f["name"] != "README.md"}


def test_a_run_stores_every_response_ranking_agreement_and_call(
    engine: Engine, submit: Callable[..., str], run_here: Callable[..., int]
) -> None:
    job_id = submit()
    assert run_here() == DONE
    job = job_of(engine, job_id)
    assert job.state == "succeeded"
    assert job.progress["steps_done"] == 6
    ranked = rows(engine, RankingRow, job_id)
    assert len(rows(engine, Response, job_id)) == 3 * len(ranked)
    assert len(rows(engine, AgreementRow, job_id)) == sum(r.black_box is not None for r in ranked)
    asked = [row for row in ranked if row.presented]
    assert len(rows(engine, JudgeCall, job_id)) == len(asked)
    with transaction(engine) as session:
        assert set(session.scalars(select(JudgeQuestion.state))) == {"done"}
        names = set(session.scalars(select(Metric.name).where(Metric.job_id == job_id)))
    assert {"loss/total", "loss/rank", "loss/sft", "agreement/length", "step/iterations"} <= names


def test_what_entered_the_loss_is_the_black_order_of_the_stored_responses(
    engine: Engine, submit: Callable[..., str], run_here: Callable[..., int]
) -> None:
    job_id = submit()
    run_here()
    texts = {(r.step, r.iteration, r.k): r.text for r in rows(engine, Response, job_id)}
    trained = [row for row in rows(engine, RankingRow, job_id) if row.training]
    assert trained
    for row in trained:
        flat = [texts[row.step, row.iteration, k] for group in row.black_box for k in group]
        assert row.training["texts"] == flat
        assert [len(g) for g in row.training["groups"]] == [len(g) for g in row.black_box]
        assert row.loss["total"] == pytest.approx(
            row.loss["rank"] + row.loss["sft_weight"] * row.loss["sft"], rel=1e-5
        )


def test_held_out_prompts_are_scored_before_and_after_and_train_nothing(
    engine: Engine, submit: Callable[..., str], run_here: Callable[..., int]
) -> None:
    plain = submit()
    run_here()
    dataset = factories.dataset(engine, 6).id
    with_held_out = submit(held_out={"dataset": dataset, "samples_per_prompt": 2})
    run_here()
    held_out = job_of(engine, with_held_out).progress["held_out"]
    assert held_out["before"]["n"] == held_out["after"]["n"] == 12
    scores = [r.score for r in rows(engine, Response, with_held_out) if r.stage != "align"]
    assert len(scores) == 24
    assert all(0 <= score <= 1 for score in scores)
    assert (
        weights(engine, plain)["adapter/adapter_model.safetensors"]
        == (weights(engine, with_held_out)["adapter/adapter_model.safetensors"])
    )


@pytest.mark.parametrize("lanes", [1, 3])
def test_a_run_broken_off_anywhere_ends_like_an_unbroken_one(
    lanes: int, engine: Engine, submit: Callable[..., str], take: Callable[[], Lease]
) -> None:
    def run_in_pieces(job_id: str, events_a_piece: int | None) -> None:
        while job_of(engine, job_id).state == "queued":
            lease = take()
            opened = runner.open_run(lease, threading.Event())
            if runner.run(opened, most_events=events_a_piece) == STOPPED:
                with transaction(engine) as session:
                    settle(session, lease, Act.GIVE_BACK)

    method = {"concurrency": lanes}
    checkpoints = {"every_rounds": 1, "keep": 2}
    unbroken = submit(method=method, checkpoints=checkpoints)
    run_in_pieces(unbroken, None)
    broken = submit(method=method, checkpoints=checkpoints)
    run_in_pieces(broken, 7 if lanes == 1 else 17)
    assert job_of(engine, broken).attempt > 2
    assert weights(engine, broken) == weights(engine, unbroken)
    told = [
        [
            (r.step, r.iteration, r.round, r.white_box, r.black_box)
            for r in rows(engine, RankingRow, j)
        ]
        for j in (broken, unbroken)
    ]
    assert told[0] == told[1]


def test_a_runner_that_lost_its_lease_writes_nothing_more(
    engine: Engine, submit: Callable[..., str], take: Callable[[], Lease]
) -> None:
    job_id = submit()
    stale = take()
    with transaction(engine) as session:
        settle(session, stale, Act.GIVE_BACK)
    take()
    with pytest.raises(Fenced):
        Book(engine, stale).record(RoundEnded(1, 1, {}, done=False))
    assert job_of(engine, job_id).round == 0


def test_a_changed_catalogue_entry_fails_the_job_with_a_word_on_what_to_do(
    operator: Path, engine: Engine, submit: Callable[..., str], take: Callable[[], Lease]
) -> None:
    submit()
    text = operator.read_text().replace("[judges.rubric]", 'license = "MIT"\n[judges.rubric]')
    operator.write_text(text)
    with pytest.raises(Rejected, match="not the one that this job was made for"):
        runner.open_run(take(), threading.Event())


def test_a_judge_call_in_flight_at_a_death_is_repeated_once_and_counted(
    engine: Engine, submit: Callable[..., str], run_here: Callable[..., int]
) -> None:
    first = submit()
    run_here()
    with transaction(engine) as session:
        question = session.scalars(select(JudgeQuestion)).first()
        assert question is not None
        question.state, question.reply = "inflight", None
        second = submit()
        question.job_id = second
    run_here()
    assert job_of(engine, first).usage.get("extra_paid", 0) == 0
    assert job_of(engine, second).usage["extra_paid"] == 1
    assert job_of(engine, second).usage["judge_posts"] == 1


def test_the_log_tells_the_run_in_order(
    engine: Engine, submit: Callable[..., str], run_here: Callable[..., int]
) -> None:
    job_id = submit()
    run_here()
    with transaction(engine) as session:
        query = select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)
        events = list(session.scalars(query))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    kinds = [event.type for event in events]
    assert kinds[0] == "created"
    assert kinds[-1] == "state"
    assert kinds.count("step") == 6
    assert "checkpoint" in kinds
