"""Clones in the runner: what was paid is used again, and a checkpoint is where one starts."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.core.db import transaction
from app.core.lease import Lease, settle
from app.core.models import Act, Checkpoint, Response
from app.core.settings import get_settings
from app.core.spec.catalogue import load_catalogue
from app.core.spec.clone import CloneSpec
from app.core.storage import open_store
from app.services import clones
from tests.judge_server import JudgeServer
from tests.run.conftest import job_of
from tests.run.test_runner import weights
from worker import recipe, runner
from worker.ending import DONE, FINAL, RETRY, STOPPED
from worker.failure import explain
from worker.ledger.fetching import CheckpointGone, CorruptCheckpoint
from worker.whitebox.checkpoint import save_checkpoint

EVERY = {"every_rounds": 1, "keep": 100}
FULL = {"name": "tiny", "tuning": {"type": "full"}}
FILES = {"adapter": "adapter/adapter_model.safetensors", "merged": "merged/model.safetensors"}


@pytest.fixture
def clone(operator: Path, engine: Engine) -> Callable[..., str]:
    """Clone a job, from a checkpoint if one is given; returns the new one's id."""

    def clone_one(job_id: str, checkpoint: str | None = None, **overrides: Any) -> str:
        start = None if checkpoint is None else {"checkpoint": checkpoint}
        asked = CloneSpec.model_validate({"overrides": overrides, "from": start})
        with transaction(engine) as session:
            catalogue = load_catalogue(operator)
            return clones.clone(session, "ws_default", job_id, asked, catalogue).id

    return clone_one


def kept(engine: Engine, job_id: str) -> list[Checkpoint]:
    with transaction(engine) as session:
        query = select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.round)
        return list(session.scalars(query))


def sha256(checkpoint: Checkpoint, name: str) -> str:
    [found] = [f["sha256"] for f in checkpoint.manifest["files"] if f["name"] == name]
    return str(found)


def texts(engine: Engine, job_id: str, stage: str) -> list[str]:
    query = select(Response.text).where(Response.job_id == job_id, Response.stage == stage)
    with transaction(engine) as session:
        return list(session.scalars(query.order_by(Response.step, Response.iteration, Response.k)))


def test_an_unchanged_clone_pays_nothing_and_learns_the_same(
    engine: Engine,
    judge: JudgeServer,
    submit: Callable[..., str],
    clone: Callable[..., str],
    run_here: Callable[..., int],
) -> None:
    first = submit(judge="endpoint")
    assert run_here() == DONE
    paid = len(judge.posts)
    assert paid > 0
    second = clone(first)
    assert run_here() == DONE
    assert len(judge.posts) == paid
    usage = job_of(engine, second).usage
    assert (usage.get("judge_posts", 0), usage["judge_reuses"]) == (0, paid)
    assert weights(engine, second) == weights(engine, first)


@pytest.mark.parametrize("form", ["adapter", "merged"])
def test_a_clone_starts_from_exactly_the_weights_of_the_checkpoint(
    form: str,
    engine: Engine,
    submit: Callable[..., str],
    clone: Callable[..., str],
    take: Callable[[], Lease],
    run_here: Callable[..., int],
    tmp_path: Path,
) -> None:
    changes = {"model": FULL, "optimizer": {"lr": 1e-3}} if form == "merged" else {}
    source = submit(checkpoints=EVERY, **changes)
    assert run_here() == DONE
    first, start, *_ = kept(engine, source)
    assert not start.final
    job_id = clone(source, start.id, optimizer={"lr": 1e-4})
    opened = runner.open_run(take(), threading.Event())
    with recipe.open_policy(opened) as policy:
        assert policy.version == 0
        save_checkpoint(policy, tmp_path, base_model="tiny", merged=form == "merged")
    assert sha256(first, FILES[form]) != sha256(start, FILES[form])
    folder = open_store(get_settings().artifacts_url, engine)
    stored = b"".join(folder.read(f"{start.id}/{FILES[form]}"))
    assert (tmp_path / FILES[form]).read_bytes() == stored
    assert runner.run(opened) == DONE
    assert job_of(engine, job_id).resolved["optimizer"]["lr"] == 1e-4
    card = b"".join(folder.read(f"{job_of(engine, job_id).result_checkpoint_id}/README.md"))
    assert f"`{start.id}`, round {start.round} of `{source}`".encode() in card


def test_a_clone_of_a_final_checkpoint_may_train_all_of_its_weights(
    engine: Engine,
    submit: Callable[..., str],
    clone: Callable[..., str],
    run_here: Callable[..., int],
) -> None:
    source = submit()
    assert run_here() == DONE
    final = kept(engine, source)[-1]
    clone(source, final.id, model={"tuning": {"type": "full"}}, optimizer={"lr": 1e-4})
    assert run_here() == DONE


def test_a_clone_that_is_broken_off_goes_on_from_its_own_checkpoints(
    engine: Engine,
    submit: Callable[..., str],
    clone: Callable[..., str],
    take: Callable[[], Lease],
    run_here: Callable[..., int],
) -> None:
    source = submit(checkpoints=EVERY)
    assert run_here() == DONE
    start = kept(engine, source)[1].id
    unbroken = clone(source, start)
    assert run_here() == DONE
    broken = clone(source, start)
    while job_of(engine, broken).state == "queued":
        lease = take()
        if runner.run(runner.open_run(lease, threading.Event()), most_events=17) == STOPPED:
            with transaction(engine) as session:
                settle(session, lease, Act.GIVE_BACK)
    assert job_of(engine, broken).attempt > 2
    assert weights(engine, broken) == weights(engine, unbroken)
    assert weights(engine, broken) != weights(engine, source)
    assert texts(engine, broken, "align") == texts(engine, unbroken, "align")


def test_a_start_that_is_gone_or_not_what_was_stored_fails_the_job_clearly(
    engine: Engine,
    submit: Callable[..., str],
    clone: Callable[..., str],
    take: Callable[[], Lease],
    run_here: Callable[..., int],
) -> None:
    source = submit(checkpoints=EVERY)
    assert run_here() == DONE
    rotten, emptied, deleted = kept(engine, source)[:3]
    store = open_store(get_settings().artifacts_url, engine)
    for checkpoint in (rotten, emptied, deleted):
        clone(source, checkpoint.id)
    store.write(f"{rotten.id}/{FILES['adapter']}", [b"other bytes"])
    store.delete(emptied.id)
    with transaction(engine) as session:
        session.delete(session.get_one(Checkpoint, deleted.id))
    for error, code, name in (
        (CorruptCheckpoint, RETRY, "checkpoint_corrupt"),
        (CorruptCheckpoint, RETRY, "checkpoint_corrupt"),
        (CheckpointGone, FINAL, "checkpoint_gone"),
    ):
        with pytest.raises(error) as caught:
            runner.run(runner.open_run(take(), threading.Event()))
        assert explain(caught.value)[:2] == (code, name)
