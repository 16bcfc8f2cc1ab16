"""A running job is paused over HTTP, keeps its round, and goes on when it is told to."""

import time
from pathlib import Path

import pytest

from tests.stack.jobs import small_job, upload_prompts
from tests.stack.running import Stack, wait_for

pytestmark = pytest.mark.stack

MANY = [f"Tell me something about the number {n}." for n in range(40)]


def test_a_paused_job_keeps_its_round_and_goes_on(stack: Stack, tmp_path: Path) -> None:
    with stack.client() as client:
        dataset = upload_prompts(client, tmp_path, MANY)
        spec = small_job(dataset, checkpoints={"every_rounds": 1000, "keep": 1})
        job_id = client.create_job(spec)["id"]
        while client.job(job_id)["round"] < 2:
            time.sleep(0.05)
        assert client.pause(job_id)["status"] == "pausing"
        while (job := client.job(job_id))["status"] == "pausing":
            time.sleep(0.1)
        assert job["status"] == "paused"
        assert job["allowed_actions"] == ["cancel", "resume"]
        [kept] = list(client.checkpoints(job_id))
        assert kept["round"] == job["round"]
        done = job["progress"]["steps_done"]
        time.sleep(1.5)
        assert client.job(job_id)["progress"]["steps_done"] == done
        assert client.resume(job_id)["status"] == "queued"
        ended = wait_for(client, job_id)
        assert ended["status"] == "succeeded", ended["error"]
        assert ended["progress"]["steps_done"] == len(MANY)
        assert [one["from_round"] for one in ended["attempts"]] == [0, kept["round"]]
        assert "rewound" not in {event["type"] for event in client.events(job_id)}
