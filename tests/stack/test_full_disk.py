"""A real disk that is full: the stack's job waits, and succeeds alone once there is room."""

import time
from pathlib import Path

import pytest

from tests.disks import resize, small_disk
from tests.stack.jobs import small_job, upload_prompts
from tests.stack.running import running, wait_for, write_catalogue

pytestmark = pytest.mark.stack


def test_a_job_outlives_a_full_disk(tiny_model: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 700) as disk:
        settings = {"ARTIFACTS_URL": f"file://{disk}", "STORAGE_WAIT_SECONDS": "1"}
        catalogue = write_catalogue(tmp_path, tiny_model)
        with running(tmp_path, catalogue, settings) as stack, stack.client() as client:
            dataset = upload_prompts(client, tmp_path)
            job = client.create_job(small_job(dataset, checkpoints={"every_rounds": 2, "keep": 1}))
            until = time.monotonic() + 120
            while (job.get("error") or {}).get("code") != "storage_full":
                assert time.monotonic() < until, job
                time.sleep(0.1)
                job = client.job(job["id"])
            assert job["status"] == "queued"
            assert "ARTIFACTS_URL" in job["error"]["detail"]
            [kept, *_] = client.checkpoints(job["id"])
            client.download_files(kept["id"], tmp_path / "kept")
            resize(disk, 8192)
            job = wait_for(client, job["id"])
            assert (job["status"], job["error"]) == ("succeeded", None)
            client.download_files(job["result"]["checkpoint_id"], tmp_path / "aligned")
