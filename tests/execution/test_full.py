"""A full store or disk is waited out, and told apart from what is wrong with the job."""

import errno
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from sqlalchemy import Engine, create_engine, text

from app.core.db import transaction
from app.core.errors import Unavailable
from app.core.models import Act
from app.core.storage import DatabaseStore, FileStore, Store, open_store
from app.services import jobs
from tests.conftest import on_server
from tests.disks import resize, small_disk
from tests.execution.leasing import change, claimed, make_runnable, settled
from tests.execution.rows import add_job, read_events, read_job
from worker.blackbox.failures import QuotaExhausted
from worker.ending import FINAL, RETRY
from worker.failure import explain

FULL = {"code": "storage_full", "detail": "The store is full. Free some space there."}
CORRUPT = {"code": "checkpoint_corrupt", "detail": "weights of ckpt_1 are not what was stored"}
WAIT = "SELECT extract(epoch FROM run_after - clock_timestamp()) FROM jobs WHERE id = :id"


def test_a_job_waits_for_room_as_long_as_it_takes(engine: Engine) -> None:
    job_id = add_job(engine, failures=2)
    for _ in range(5):
        make_runnable(engine, job_id)
        settled(engine, claimed(engine), Act.RETRY_LATER, error=FULL, reason="storage_full")
        job = read_job(engine, job_id)
        assert (job.state, job.failures) == ("queued", 2)
    with engine.connect() as connection:
        wait = connection.scalar(text(WAIT), {"id": job_id})
    assert wait is not None
    assert 290 < float(wait) <= 300


def test_a_waiting_job_says_what_is_full_until_it_is_tried_again(engine: Engine) -> None:
    job_id = add_job(engine)
    settled(engine, claimed(engine), Act.RETRY_LATER, error=FULL, reason="storage_full")
    assert read_job(engine, job_id).error == FULL
    event = read_events(engine, job_id)[-1]
    assert (event.level, event.data["error"]) == ("warning", FULL)
    make_runnable(engine, job_id)
    claimed(engine)
    assert read_job(engine, job_id).error is None


def test_a_corrupt_checkpoint_is_no_failure_of_the_job(engine: Engine) -> None:
    job_id = add_job(engine, failures=2)
    settled(engine, claimed(engine), Act.RETRY_LATER, error=CORRUPT, run_after_seconds=0)
    assert (read_job(engine, job_id).state, read_job(engine, job_id).failures) == ("queued", 2)


def test_other_errors_still_count(engine: Engine) -> None:
    job_id = add_job(engine, failures=2)
    error = {"code": "unavailable", "detail": "it broke"}
    settled(engine, claimed(engine), Act.RETRY_LATER, error=error)
    assert read_job(engine, job_id).state == "failed"


def test_a_cancelled_job_has_no_error(engine: Engine) -> None:
    job_id = add_job(engine)
    lease = claimed(engine)
    change(engine, job_id, "state = 'cancelling'")
    settled(engine, lease, Act.RETRY_LATER, error=FULL)
    assert (read_job(engine, job_id).state, read_job(engine, job_id).error) == ("cancelled", None)


@pytest.fixture(params=["database", "file"])
def store(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> Store:
    url = "database://" if request.param == "database" else f"file://{tmp_path}/artifacts"
    return open_store(url, engine)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_write_without_room_names_the_place_and_leaves_nothing(store: Store, number: int) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"x" * 5_000_000
        raise OSError(number, "no room")

    with pytest.raises(Unavailable, match=r"where checkpoints are stored.* is full") as caught:
        store.write("ckpt_1/weights", chunks())

    assert caught.value.code == "storage_full"
    assert store.size("ckpt_1/weights") is None
    assert explain(caught.value) == (RETRY, "storage_full", caught.value.detail)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
    ],
)
def test_a_full_disk_of_the_worker_is_named(error: Exception) -> None:
    code, name, detail = explain(error)
    assert (code, name) == (RETRY, "storage_full")
    assert "TMPDIR" in detail


def test_a_judge_whose_quota_is_used_up_is_no_full_disk() -> None:
    assert explain(QuotaExhausted("disk quota exceeded"))[:2] == (FINAL, "judge_quota_exhausted")


def test_a_real_full_disk_stops_a_save_of_tensors(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 512) as disk:
        with pytest.raises(Exception, match="No space left") as caught:
            save_file({"weight": torch.zeros(1 << 20)}, disk / "weights.safetensors")
        assert explain(caught.value)[:2] == (RETRY, "storage_full")


def test_a_real_full_folder_takes_the_file_once_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 512) as disk:
        store = FileStore(disk)
        store.write("ckpt_1/weights", [b"before"])
        with pytest.raises(Unavailable, match="ARTIFACTS_URL"):
            store.write("ckpt_2/weights", [b"x" * (1 << 20)])
        assert store.size("ckpt_2/weights") is None
        assert b"".join(store.read("ckpt_1/weights")) == b"before"
        resize(disk, 4096)
        assert store.write("ckpt_2/weights", [b"x" * (1 << 20)]) == 1 << 20


@pytest.fixture
def small_tablespace(postgres: str) -> Iterator[Path]:
    """A disk of 4 MiB as a tablespace of the server, which must be on this machine."""
    server = create_engine(postgres)
    with server.connect() as connection:
        data = str(connection.scalar(text("SHOW data_directory")))
    server.dispose()
    if not Path(data).is_dir():
        pytest.skip("the server's disks are not this machine's")
    with (
        tempfile.TemporaryDirectory() as folder,
        small_disk(Path(folder) / "disk", 4096) as disk,
    ):
        Path(folder).chmod(0o755)  # the server runs as another user
        space = disk / "space"
        space.mkdir(mode=0o700)
        owner = Path(data).stat()
        os.chown(space, owner.st_uid, owner.st_gid)
        on_server(postgres, f"CREATE TABLESPACE small LOCATION '{space}'")
        yield disk
        on_server(postgres, "DROP TABLESPACE small")


def test_a_real_full_disk_of_the_database_takes_the_file_once_there_is_room(
    small_tablespace: Path, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE artifact_chunks SET TABLESPACE small"))
    store = DatabaseStore(engine)
    store.write("ckpt_1/weights", [b"before"])
    data = random.Random(1).randbytes(6 << 20)
    with pytest.raises(Unavailable, match="The database's disk"):
        store.write("ckpt_2/weights", [data])
    assert store.size("ckpt_2/weights") is None
    assert b"".join(store.read("ckpt_1/weights")) == b"before"
    resize(small_tablespace, 40_960)
    assert store.write("ckpt_2/weights", [data]) == 6 << 20


def test_a_waiting_job_that_is_cancelled_waits_for_nothing(engine: Engine) -> None:
    job_id = add_job(engine)
    settled(engine, claimed(engine), Act.RETRY_LATER, error=FULL, reason="storage_full")
    with transaction(engine) as session:
        assert jobs.pause(session, "ws_default", job_id).error == FULL
        assert jobs.cancel(session, "ws_default", job_id).error is None
