"""Saves that are killed at random moments: `python -m tests.chaos.saves --kills 200`.

A child claims a job and stores checkpoints through the real shelf, one after another, until
SIGKILL meets it. The parent then reads everything that users could, and at the end it sweeps.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Engine, NullPool, create_engine, select, text

from app.core.db import transaction
from app.core.embedded import embedded_postgres
from app.core.errors import Unavailable
from app.core.lease import claim
from app.core.migrations import migrate
from app.core.models import Checkpoint, Job
from app.core.reaping import reap
from app.core.storage import FileStore, Store, open_store
from app.core.sweeping import sweep
from tests.chaos.silence import wait_for_silence
from tests.execution.rows import add_job
from worker.cycle.events import RoundEnded
from worker.ledger.book import Book
from worker.ledger.checkpoints import Shelf

SIZES = {
    "adapter/adapter_model.safetensors": 1 << 20,
    "training_state/weights.safetensors": 5 << 20,
    "training_state/state.json": 100,
}
KEEP = 2
CALM_SAVES = 3


class Hasty(FileStore):
    """A folder that answers before it has written, and is always killed before it does."""

    def write(self, key: str, chunks: Iterable[bytes]) -> int:
        return sum(map(len, chunks))

    def size(self, key: str) -> int | None:
        return SIZES[key.partition("/")[2]]


@dataclass
class Found:
    """What the kills did."""

    store: str
    kills: int
    seconds_a_save: float
    killed_in_a_save: int = 0
    """Kills that left bytes of a checkpoint that nobody will ever see."""
    rounds: int = 0
    """How far the job came in spite of the kills."""
    broken: int = 0
    """Times that a visible checkpoint was found not to hold the bytes of its manifest."""
    corrupt: int = 0
    """Checkpoints that a resuming child could not load."""
    swept: int = 0
    left: int = 0
    """Folders without a checkpoint after the sweep."""


@dataclass(frozen=True)
class Place:
    """Where the saves go; engines keep no connections, so that a fork shares none."""

    database: str
    artifacts: str
    scratch: Path
    """Where children write what they save; a killed one does not tidy up."""
    hasty: bool = False

    def engine(self) -> Engine:
        return create_engine(self.database, poolclass=NullPool)

    def store(self, engine: Engine) -> Store:
        return open_store(self.artifacts, engine)

    def spoiled(self, engine: Engine) -> Store:
        folder = self.artifacts.removeprefix("file://")
        return Hasty(Path(folder)) if self.hasty else self.store(engine)


def save_for_ever(place: Place, told: int) -> None:
    """Resume the job as a runner does, and save round after round; tell of each."""
    engine = place.engine()
    with transaction(engine) as session:
        lease = claim(session, owner=f"p{os.getpid()}", ttl_seconds=600)
    assert lease is not None
    shelf = Shelf(Book(engine, lease), place.spoiled(engine), KEEP)
    with tempfile.TemporaryDirectory(dir=place.scratch) as scratch:
        if lease.checkpoint_id:
            shelf.fetch(Path(scratch) / "resume", {"training_state"})
        os.write(told, b".")
        for round_ in itertools.count(lease.round + 1):
            event = RoundEnded(round_, round_, {}, done=False)
            shelf.book.record(event)
            shelf.put(_folder(Path(scratch) / str(round_), round_), event, {})
            os.write(told, b".")


def _folder(folder: Path, round_: int) -> Path:
    draw = random.Random(round_)
    for name, size in SIZES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(draw.randbytes(size))
    return folder


@contextmanager
def saving(place: Place) -> Iterator[int]:
    """Have a child save until the end of the block, which kills it; hand out what it tells."""
    hears, tells = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            save_for_ever(place, tells)
        finally:
            os._exit(1)
    os.close(tells)
    try:
        yield hears
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(hears)


def seconds_a_save(place: Place) -> float:
    """Measure undisturbed saves."""
    with saving(place) as hears:
        os.read(hears, 1)
        start = time.monotonic()
        for _ in range(CALM_SAVES):
            os.read(hears, 1)
        return (time.monotonic() - start) / CALM_SAVES


def take_back(engine: Engine) -> None:
    """Reap the killed child's job once the server has noticed its death, and make it runnable."""
    wait_for_silence(engine)
    with transaction(engine) as session:
        past = "clock_timestamp() - interval '1 second'"
        session.execute(text(f"UPDATE jobs SET lease_expires_at = {past}"))
        reap(session, ttl_seconds=0.01, max_stalls=1_000_000)
        session.execute(text(f"UPDATE jobs SET run_after = {past}, stalls = 0"))


def broken(engine: Engine, store: Store) -> list[str]:
    """Name the visible checkpoints of which a byte is another or missing."""
    with transaction(engine) as session:
        rows = session.scalars(select(Checkpoint)).all()
    return [row.id for row in rows if not all(_is_whole(store, row.id, f) for f in _files(row))]


def _files(row: Checkpoint) -> list[dict[str, str]]:
    files: list[dict[str, str]] = row.manifest["files"]
    return files


def _is_whole(store: Store, checkpoint_id: str, entry: dict[str, str]) -> bool:
    total = hashlib.sha256()
    try:
        for piece in store.read(f"{checkpoint_id}/{entry['name']}"):
            total.update(piece)
    except Unavailable:
        return False
    return total.hexdigest() == entry["sha256"]


def orphans(engine: Engine, store: Store) -> set[str]:
    """Name the folders that no checkpoint stands for."""
    with transaction(engine) as session:
        return set(store.folders()) - set(session.scalars(select(Checkpoint.id)))


def kill_saves(place: Place, kills: int, seed: int) -> Found:
    """Kill so many children, each at a random moment of its first two saves."""
    engine, draw = place.engine(), random.Random(seed)
    store = place.store(engine)
    add_job(engine)
    found = Found(place.artifacts.partition(":")[0], kills, seconds_a_save(place))
    take_back(engine)
    known = orphans(engine, store)
    for _ in range(kills):
        with saving(place) as hears:
            os.read(hears, 1)
            time.sleep(draw.uniform(0, 2 * found.seconds_a_save))
        take_back(engine)
        found.broken += len(broken(engine, store))
        now = orphans(engine, store)
        found.killed_in_a_save += bool(now - known)
        known |= now
    return _swept(engine, store, found)


def _swept(engine: Engine, store: Store, found: Found) -> Found:
    found.swept = len(sweep(engine, store, older_seconds=0, limit=1_000_000))
    found.left = len(orphans(engine, store))
    with transaction(engine) as session:
        corrupt = "SELECT count(*) FROM job_events WHERE type = 'checkpoint_corrupt'"
        found.corrupt = session.scalar(text(corrupt)) or 0
        found.rounds = session.scalars(select(Job.round)).one()
    return found


@contextmanager
def database(url: str | None) -> Iterator[str]:
    """The database of a URL, or one of its own for the time."""
    if url:
        yield url
        return
    with tempfile.TemporaryDirectory() as folder, embedded_postgres(Path(folder) / "pg") as server:
        yield server.url


def main() -> int:
    """Kill, tell as JSON, and return 1 if anything visible was broken or anything was left."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.saves", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=["file", "database"], default="file")
    parser.add_argument("--database-url", help="an empty one; without, it starts its own server")
    parser.add_argument("--hasty", action="store_true", help="spoil the order, which must be seen")
    given = parser.parse_args()
    with database(given.database_url) as url, tempfile.TemporaryDirectory() as folder:
        artifacts = f"file://{folder}/artifacts" if given.store == "file" else "database://"
        place = Place(url, artifacts, Path(folder), given.hasty)
        engine = place.engine()
        migrate(engine)
        found = kill_saves(place, given.kills, given.seed)
    sys.stdout.write(json.dumps(asdict(found)) + "\n")
    return int(bool(found.broken or found.corrupt or found.left))


if __name__ == "__main__":
    sys.exit(main())
