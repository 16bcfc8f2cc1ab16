"""Jobs on two ranks, through HTTP: they succeed, and outlive the loss of a rank."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from cyclealign.client import Client
from cyclealign.errors import ApiError
from tests.stack.jobs import small_job, upload_prompts
from tests.stack.running import Stack, wait_for
from tests.stack.test_end_to_end import check_manifest, check_weights, finished, unpacked

pytestmark = [
    pytest.mark.stack,
    # peft asks transformers by an attribute's former name
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]


def followers(stack: Stack) -> list[psutil.Process]:
    """The processes of ranks other than the first."""
    found = []
    for process in psutil.Process(stack.process.pid).children(recursive=True):
        try:
            if "worker.rank" in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def on_ranks(
    client: Client, folder: Path, prompts: list[str] | None = None, **engine: Any
) -> dict[str, Any]:
    """A job on two ranks that learns enough to be seen."""
    dataset = upload_prompts(client, folder, prompts)
    held_out = {"dataset": upload_prompts(client, folder, ["Name a colour.", "And a number?"])}
    return small_job(
        dataset, engine={"ranks": 2, **engine}, held_out=held_out, optimizer={"lr": 0.05}
    )


@pytest.mark.parametrize("zero", [2, 3])
def test_a_job_on_two_ranks_succeeds_and_its_checkpoint_loads_in_plain_tools(
    zero: int, stack: Stack, tiny_model: Path, tmp_path: Path
) -> None:
    with stack.client() as client:
        job = finished(client, on_ranks(client, tmp_path, zero=zero))
        trained = list(client.pages(f"/v1/jobs/{job['id']}/responses", stage="held_out_after"))
        client.download_archive(job["result"]["checkpoint_id"], tmp_path / "all.tar")
    assert job["attempt"] == 1
    assert trained
    folder = unpacked(tmp_path / "all.tar")
    check_manifest(folder)
    check_weights(folder, tiny_model, trained)
    wait_until(lambda: not followers(stack))


@pytest.mark.parametrize("moment", ["starting", "working"])
def test_a_rank_that_dies_costs_an_attempt_and_leaves_nothing_running(
    moment: str, stack: Stack, tmp_path: Path
) -> None:
    many = [f"Tell me fact number {n}." for n in range(8)]
    with stack.client() as client:
        wait_until(lambda: not followers(stack))  # those of the job before
        job = client.create_job(on_ranks(client, tmp_path, many, zero=2))["id"]
        wait_until(lambda: followers(stack))
        if moment == "working":
            wait_until(lambda: client.job(job)["progress"]["steps_done"] > 0)
        followers(stack)[0].kill()
        ended = wait_for(client, job, seconds=120)
        events = list(client.pages(f"/v1/jobs/{job}/events"))
    assert ended["status"] == "succeeded", ended["error"]
    assert ended["attempt"] == 2
    assert "rank_lost" in str(events)
    wait_until(lambda: not followers(stack))


@pytest.mark.parametrize(
    ("engine", "field"),
    [({"zero": None}, "ranks"), ({"ranks": 1, "offload_optimizer": True}, "offload_optimizer")],
)
def test_settings_that_need_zero_are_refused_without_it(
    engine: dict[str, Any], field: str, stack: Stack, tmp_path: Path
) -> None:
    with stack.client() as client, pytest.raises(ApiError) as refused:
        client.create_job(on_ranks(client, tmp_path, **engine))
    assert [fault["pointer"] for fault in refused.value.errors] == [f"/engine/{field}"]
