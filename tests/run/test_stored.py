"""Runs whose stored checkpoints meet a full disk, or were changed behind the service's back."""

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.core.db import transaction
from app.core.models import Checkpoint, Job
from app.core.settings import get_settings
from app.core.storage import FileStore
from app.main import create_app
from tests.execution.rows import read_events
from tests.run.conftest import job_of
from tests.run.test_runner import weights
from worker.recipe import Run

EVERY = {"every_rounds": 1, "keep": 3}
STATE = "training_state/weights.safetensors"
Supervise = Callable[..., Job]


@pytest.fixture(autouse=True)
def artifacts(operator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of stored checkpoints; a job that found it full is tried again at once."""
    folder = tmp_path / "artifacts"
    monkeypatch.setenv("ARTIFACTS_URL", f"file://{folder}")
    monkeypatch.setenv("STORAGE_WAIT_SECONDS", "0.001")
    get_settings.cache_clear()
    return folder


@pytest.fixture
def client(engine: Engine, artifacts: Path) -> Iterator[TestClient]:
    """The service on the same database and store."""
    with TestClient(create_app(get_settings(), engine), raise_server_exceptions=False) as made:
        yield made


def checkpoints(engine: Engine, job_id: str) -> list[Checkpoint]:
    with transaction(engine) as session:
        query = select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.round)
        return list(session.scalars(query))


def run_until(
    engine: Engine, supervise: Supervise, job_id: str, count: int, part: Callable[[Run], Run]
) -> list[Checkpoint]:
    """Run in pieces until there are so many checkpoints."""
    while len(found := checkpoints(engine, job_id)) < count:
        assert supervise(part, 9).state == "queued"
    return found


class Cramped(FileStore):
    """A folder on a disk that has room for so many bytes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder
        self.room = 1 << 30

    def write(self, key: str, chunks: Iterable[bytes]) -> int:
        return super().write(key, self._fitting(chunks))

    def fill(self, but: int) -> None:
        """Leave room for so many bytes more."""
        self.room = self.used() + but

    def used(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def _fitting(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        left = self.room - self.used()
        for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            yield chunk


def test_a_job_with_a_full_store_waits_says_why_and_goes_on_by_itself(
    engine: Engine,
    submit: Callable[..., str],
    supervise: Supervise,
    client: TestClient,
    artifacts: Path,
) -> None:
    unbroken = submit(checkpoints=EVERY)
    assert supervise().state == "succeeded"
    job_id, store = submit(checkpoints=EVERY), Cramped(artifacts)

    def part(run: Run) -> Run:
        return replace(run, shelf=replace(run.shelf, store=store))

    [kept] = run_until(engine, supervise, job_id, 1, part)
    store.fill(but=30_000)
    before = set(store.folders())
    for _ in range(get_settings().max_failures + 1):
        supervise(part)
        shown = client.get(f"/v1/jobs/{job_id}").json()
        assert (shown["status"], shown["error"]["code"]) == ("queued", "storage_full")
        assert "ARTIFACTS_URL" in shown["error"]["detail"]
        assert set(store.folders()) == before
    last = read_events(engine, job_id)[-1]
    assert (last.level, last.data["error"]) == ("warning", shown["error"])
    assert [row.id for row in checkpoints(engine, job_id)] == [kept.id]
    for file in kept.manifest["files"]:
        answer = client.get(f"/v1/checkpoints/{kept.id}/files/{file['name']}")
        assert (answer.status_code, len(answer.content)) == (200, file["bytes"])
    store.room = 1 << 30
    assert supervise(part).state == "succeeded"
    assert job_of(engine, job_id).error is None
    assert weights(engine, job_id) == weights(engine, unbroken)


def flip(path: Path, _: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path, _: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def remove(path: Path, _: Path) -> None:
    path.unlink()


def swap(path: Path, other: Path) -> None:
    theirs, ours = other.read_bytes(), path.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(ours)


@pytest.mark.parametrize("damage", [flip, cut, remove, swap])
def test_a_job_with_a_damaged_checkpoint_goes_on_from_the_one_before(
    damage: Callable[[Path, Path], None],
    engine: Engine,
    submit: Callable[..., str],
    supervise: Supervise,
    artifacts: Path,
) -> None:
    unbroken = submit(checkpoints=EVERY)
    assert supervise().state == "succeeded"
    job_id = submit(checkpoints=EVERY)
    before, newest = run_until(engine, supervise, job_id, 2, lambda run: run)
    other = artifacts / weights_of(engine, unbroken)
    damage(artifacts / newest.id / STATE, other)
    job = supervise()
    assert (job.state, job.failures) == ("queued", 0)
    assert job.error is not None
    assert job.error["code"] == "checkpoint_corrupt"
    assert [row.state for row in checkpoints(engine, job_id)] == ["ready", "corrupt"]
    assert named(engine, job_id) == [newest.id]
    job = supervise()
    assert job.state == "succeeded"
    starts = [e.data["checkpoint"] for e in read_events(engine, job_id) if e.type == "claimed"]
    assert starts[-2:] == [newest.id, before.id]
    assert weights(engine, job_id) == weights(engine, unbroken)
    assert "corrupt" not in {row.state for row in checkpoints(engine, job_id)}


def weights_of(engine: Engine, job_id: str) -> Path:
    return Path(str(job_of(engine, job_id).result_checkpoint_id)) / STATE


def named(engine: Engine, job_id: str) -> list[str]:
    """Name the checkpoints that the log calls corrupt, in its order."""
    told = [e.data for e in read_events(engine, job_id) if e.type == "checkpoint_corrupt"]
    return [data["checkpoint_id"] for data in told]


def test_three_corrupt_checkpoints_in_a_row_lead_back_to_the_start_and_fail_nothing(
    engine: Engine, submit: Callable[..., str], supervise: Supervise, artifacts: Path
) -> None:
    unbroken = submit(checkpoints=EVERY)
    assert supervise().state == "succeeded"
    job_id = submit(checkpoints=EVERY)
    found = run_until(engine, supervise, job_id, 3, lambda run: run)
    for row in found:
        flip(artifacts / row.id / STATE, artifacts)
    for _ in found:
        job = supervise()
        assert (job.state, job.failures) == ("queued", 0)
    assert named(engine, job_id) == [row.id for row in reversed(found)]
    assert supervise().state == "succeeded"
    assert weights(engine, job_id) == weights(engine, unbroken)


def test_a_swapped_manifest_is_corrupt_too(
    engine: Engine, submit: Callable[..., str], supervise: Supervise
) -> None:
    job_id = submit(checkpoints=EVERY)
    before, newest = run_until(engine, supervise, job_id, 2, lambda run: run)
    with transaction(engine) as session:
        session.get_one(Checkpoint, newest.id).manifest = before.manifest
    assert supervise().state == "queued"
    assert named(engine, job_id) == [newest.id]
    assert supervise().state == "succeeded"
