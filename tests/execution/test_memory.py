"""A lack of memory has a name of its own, is tried once more, and then fails the job."""

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from sqlalchemy import Engine

from app.core.db import transaction
from app.core.lease import Lease, fence, progressed
from app.core.models import Act
from app.core.process import oom_kills
from tests.execution.leasing import claimed, make_runnable, settled
from tests.execution.rows import add_job, read_job
from tests.execution.stage import READ_LEASE, Stage
from worker.ending import RETRY, ending_of
from worker.failure import explain

STARVED = {"code": "out_of_memory", "detail": "The worker's memory was full."}


def attempt(engine: Engine, job_id: str, *, progress: bool = False) -> str:
    make_runnable(engine, job_id)
    lease = claimed(engine)
    if progress:
        _commit(engine, lease)
    settled(engine, lease, Act.RETRY_LATER, error=STARVED, reason="out_of_memory")
    return read_job(engine, job_id).state


def _commit(engine: Engine, lease: Lease) -> None:
    with transaction(engine) as session:
        progressed(session, fence(session, lease))


def test_what_does_not_fit_twice_does_not_fit(engine: Engine) -> None:
    job_id = add_job(engine)
    assert [attempt(engine, job_id) for _ in range(2)] == ["queued", "failed"]
    assert read_job(engine, job_id).error == STARVED


def test_a_job_that_gets_on_meanwhile_is_tried_again(engine: Engine) -> None:
    job_id = add_job(engine)
    assert [attempt(engine, job_id, progress=True) for _ in range(4)] == ["queued"] * 4


def test_a_tensor_without_room_is_told_with_what_needs_less() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    code, name, detail = explain(caught.value)
    assert (code, name) == (RETRY, "out_of_memory")
    assert str(4 << 50) in detail
    assert "engine.checkpointing" in detail


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"), MemoryError()]
)
def test_other_parts_without_room_are_told_alike(error: Exception) -> None:
    assert explain(error)[:2] == (RETRY, "out_of_memory")


def test_an_error_that_only_speaks_of_memory_is_another_one() -> None:
    assert explain(ValueError("can't allocate memory"))[1] == "internal_error"


@pytest.mark.parametrize(
    ("code", "oom_killed", "name"),
    [
        (-signal.SIGKILL, True, "out_of_memory"),
        (-signal.SIGKILL, False, "worker_lost"),
        (-signal.SIGSEGV, True, "worker_lost"),
    ],
)
def test_a_kill_is_for_memory_if_the_kernel_counted_one(
    code: int, oom_killed: bool, name: str
) -> None:
    ending = ending_of(code, b"", asked=False, oom_killed=oom_killed)
    assert ending is not None
    assert (ending.act, (ending.error or {})["code"]) == (Act.RETRY_LATER, name)


def test_the_containers_count_goes_before_the_machines(tmp_path: Path) -> None:
    container, machine = tmp_path / "memory.events", tmp_path / "vmstat"
    machine.write_text("nr_free_pages 100\noom_kill 7\nzone_reclaim_failed 0\n")
    assert oom_kills([container, machine]) == 7
    container.write_text("low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\n")
    assert oom_kills([container, machine]) == 1
    assert oom_kills([tmp_path / "none"]) == 0


@pytest.fixture
def little_memory() -> Iterator[Path]:
    """A control group of 60 MB, which a process enters by writing its id into the file."""
    groups = Path("/sys/fs/cgroup/memory")
    if not os.access(groups, os.W_OK) or not groups.is_dir():
        pytest.skip("this machine lets nobody bound the memory of a process")
    group = groups / f"cyclealign_{uuid.uuid4().hex}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text("60000000")
    yield group / "cgroup.procs"
    group.rmdir()


def test_a_runner_that_the_kernel_kills_for_memory_says_so(
    stage: Stage, little_memory: Path
) -> None:
    enters = f"Path({str(little_memory)!r}).write_text(str(os.getpid()))\n"
    stage.play(READ_LEASE + enters + "bytearray(300_000_000)\n")
    assert (stage.state(), stage.error()["code"]) == ("queued", "out_of_memory")
    assert "method.concurrency" in stage.error()["detail"]
