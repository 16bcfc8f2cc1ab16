"""Bytes that no checkpoint names are removed, and never those of one that is being written."""

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from app.core.db import transaction
from app.core.errors import Unavailable
from app.core.models import Checkpoint, new_id
from app.core.queue import celery_app, prepare_broker
from app.core.settings import Settings
from app.core.storage import FileStore, Store, open_store
from app.core.sweeping import hold, sweep
from app.dispatcher import Dispatcher, Leader
from app.services.catalogue import open_catalogue
from tests.execution.leasing import claimed
from tests.execution.rows import add_checkpoint, add_job
from worker.cycle.events import RoundEnded
from worker.ledger.book import Book
from worker.ledger.checkpoints import Shelf

HOUR = 3600


@pytest.fixture(params=["database", "file"])
def store(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Store:
    """Each kind of store in turn; the folder of files is `tmp_path`."""
    return open_store(
        "database://" if request.param == "database" else f"file://{tmp_path}", engine
    )


def stored(store: Store, checkpoint_id: str | None = None) -> str:
    checkpoint_id = checkpoint_id or new_id("ckpt")
    store.write(f"{checkpoint_id}/adapter/weights", [b"weights"])
    store.write(f"{checkpoint_id}/README.md", [b"card"])
    return checkpoint_id


def grow_old(engine: Engine, folder: Path, checkpoint_id: str) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE artifact_chunks SET created_at = created_at - interval '1 hour' "
                 "WHERE key LIKE :below"),
            {"below": f"{checkpoint_id}/%"},
        )  # fmt: skip
    past = time.time() - HOUR
    for path in (folder / checkpoint_id, *(folder / checkpoint_id).rglob("*")):
        if path.exists():
            os.utime(path, (past, past))


def test_old_bytes_without_a_checkpoint_go_and_all_others_stay(
    engine: Engine, store: Store, tmp_path: Path
) -> None:
    kept = stored(store, add_checkpoint(engine, add_job(engine), round=1))
    orphan, young = stored(store), stored(store)
    store.write("mine/notes", [b"of somebody else"])
    for folder in (kept, orphan, "mine"):
        grow_old(engine, tmp_path, folder)
    assert sweep(engine, store, older_seconds=600, limit=10) == [orphan]
    assert store.size(f"{orphan}/adapter/weights") is None
    assert set(store.folders()) == {kept, young, "mine"}


def test_a_checkpoint_is_as_young_as_its_newest_file(
    engine: Engine, store: Store, tmp_path: Path
) -> None:
    half = stored(store)
    grow_old(engine, tmp_path, half)
    store.write(f"{half}/merged/weights", [b"just now"])
    assert sweep(engine, store, older_seconds=600, limit=10) == []


def test_a_sweep_is_bounded(engine: Engine, store: Store) -> None:
    for _ in range(5):
        stored(store)
    counts = [len(sweep(engine, store, older_seconds=0, limit=2)) for _ in range(4)]
    assert counts == [2, 2, 1, 0]


def test_a_half_written_file_is_swept_with_its_folder(engine: Engine, tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    folder = tmp_path / new_id("ckpt") / "adapter"
    folder.mkdir(parents=True)
    (folder / ".new-abc").write_bytes(b"hal")
    assert sweep(engine, store, older_seconds=0, limit=10) == [folder.parent.name]
    assert list(tmp_path.iterdir()) == []


def test_an_empty_store_has_nothing_to_sweep(engine: Engine, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "not there yet")
    assert sweep(engine, store, older_seconds=0, limit=10) == []
    assert store.idle_seconds(new_id("ckpt")) is None


def test_the_sweeper_waits_for_a_writer_that_is_about_to_commit(
    engine: Engine, store: Store
) -> None:
    job_id, checkpoint_id = add_job(engine), stored(store)
    swept: list[str] = []
    sweeper = threading.Thread(
        target=lambda: swept.extend(sweep(engine, store, older_seconds=0, limit=10))
    )
    with transaction(engine) as session:
        hold(session, checkpoint_id)
        sweeper.start()
        sweeper.join(0.5)
        assert sweeper.is_alive()
        row = {"update": 1, "steps_done": 1, "token": 1, "attempt": 1, "manifest_sha256": ""}
        session.add(
            Checkpoint(id=checkpoint_id, job_id=job_id, round=1, final=False, manifest={},
                       bytes=0, metrics={}, **row)
        )  # fmt: skip
    sweeper.join(10)
    assert swept == []
    assert store.size(f"{checkpoint_id}/adapter/weights") == 7


class Swept(FileStore):
    """A folder that is swept as soon as something is in it: its writer sleeps for so long."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        super().__init__(folder)
        self.engine = engine

    def write(self, key: str, chunks: Iterable[bytes]) -> int:
        size = super().write(key, chunks)
        sweep(self.engine, self, older_seconds=0, limit=10)
        return size


def test_a_writer_whose_bytes_were_swept_shows_no_checkpoint(
    engine: Engine, tmp_path: Path
) -> None:
    job_id = add_job(engine)
    shelf = Shelf(Book(engine, claimed(engine)), Swept(tmp_path / "store", engine), keep=1)
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "README.md").write_text("card")
    with pytest.raises(Unavailable, match="was removed before it was committed"):
        shelf.put(folder, RoundEnded(1, 1, {}, done=False), {})
    with transaction(engine) as session:
        assert session.query(Checkpoint).filter_by(job_id=job_id).count() == 0


@pytest.fixture
def dispatcher(engine: Engine, database_url: str, tmp_path: Path) -> Dispatcher:
    settings = Settings(
        database_url=database_url, artifacts_url=f"file://{tmp_path}", lease_seconds=0.01
    )
    celery = celery_app(settings)
    prepare_broker(celery, engine)
    catalogue = open_catalogue(settings.catalogue)
    store = open_store(settings.artifacts_url, engine)
    return Dispatcher(engine, settings, celery, catalogue, store, threading.Event())


@pytest.mark.filterwarnings("ignore:The ``noload`` loader")  # kombu's own models
def test_the_dispatcher_that_leads_sweeps_after_ten_leases(dispatcher: Dispatcher) -> None:
    for _ in range(12):
        stored(dispatcher.store)
    time.sleep(0.2)
    dispatcher.turn()
    assert len(list(dispatcher.store.folders())) == 2
    dispatcher.turn()
    assert list(dispatcher.store.folders()) == []
    stored(dispatcher.store)
    time.sleep(0.2)
    dispatcher.turn()
    assert len(list(dispatcher.store.folders())) == 1
    dispatcher.leader.release()


@pytest.mark.filterwarnings("ignore:The ``noload`` loader")  # kombu's own models
def test_a_dispatcher_that_does_not_lead_sweeps_nothing(
    dispatcher: Dispatcher, database_url: str
) -> None:
    other = create_engine(database_url)
    leader = Leader(other)
    assert leader.leads()
    orphan = stored(dispatcher.store)
    time.sleep(0.2)
    dispatcher.turn()
    assert list(dispatcher.store.folders()) == [orphan]
    leader.release()
    other.dispose()
