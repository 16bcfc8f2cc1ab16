"""Whole models of other jobs' checkpoints: verified, marked when corrupt, and then gone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from app.core.db import transaction
from app.core.models import Checkpoint
from app.core.storage import DatabaseStore, Store
from tests import factories
from tests.execution.rows import read_events
from worker.ledger.fetching import CheckpointGone, CorruptCheckpoint, fetch_model

WEIGHTS = "merged/model.safetensors"


@pytest.fixture
def store(engine: Engine) -> Store:
    return DatabaseStore(engine)


@pytest.fixture
def checkpoint(engine: Engine, store: Store) -> Checkpoint:
    job = factories.job(engine)
    return factories.checkpoint(engine, store, {WEIGHTS: b"m" * 500}, job_id=job.id)


def test_a_whole_model_is_fetched_once(
    engine: Engine, store: Store, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    folder = fetch_model(engine, store, tmp_path, checkpoint.id)
    store.delete(checkpoint.id)
    assert fetch_model(engine, store, tmp_path, checkpoint.id) == folder
    assert (folder / "model.safetensors").read_bytes() == b"m" * 500


@pytest.mark.parametrize("data", [b"n" + b"m" * 499, b"m" * 499, None])
def test_a_corrupt_model_is_marked_and_gone_from_then_on(
    engine: Engine, store: Store, checkpoint: Checkpoint, tmp_path: Path, data: bytes | None
) -> None:
    store.delete(checkpoint.id)
    if data is not None:
        store.write(f"{checkpoint.id}/{WEIGHTS}", [data])
    with pytest.raises(CorruptCheckpoint):
        fetch_model(engine, store, tmp_path, checkpoint.id)
    [event] = read_events(engine, checkpoint.job_id)
    assert (event.type, event.data["checkpoint_id"]) == ("checkpoint_corrupt", checkpoint.id)
    with pytest.raises(CheckpointGone):
        fetch_model(engine, store, tmp_path, checkpoint.id)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


class Forgotten(DatabaseStore):
    """A store whose checkpoint is forgotten, row and bytes, while it is read."""

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        with transaction(self._engine) as session:
            session.delete(session.get_one(Checkpoint, key.partition("/")[0]))
        self.delete(key)
        return super().read(key, start, end)


def test_a_checkpoint_forgotten_while_it_is_fetched_is_gone(
    engine: Engine, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    store = Forgotten(engine)
    with pytest.raises(CorruptCheckpoint):
        fetch_model(engine, store, tmp_path, checkpoint.id)
    with pytest.raises(CheckpointGone):
        fetch_model(engine, store, tmp_path, checkpoint.id)
    assert read_events(engine, checkpoint.job_id) == []
