"""A job through HTTP, Celery and the real runner, to a checkpoint that other tools load."""

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from cyclealign.client import Client
from tests.hh_rlhf import pairs
from tests.judge_server import JudgeServer
from tests.stack.jobs import small_job, upload_prompts
from tests.stack.running import Stack, wait_for

pytestmark = [
    pytest.mark.stack,
    # peft asks transformers by an attribute's former name
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
]


@pytest.fixture(scope="module")
def hh_prompts(stack: Stack) -> str:
    """The real file, uploaded: every line is a row or an issue."""
    with stack.client() as client:
        dataset = client.upload_dataset(pairs(), "prompts", on_error="skip")
    assert dataset["state"] == "ready"
    assert dataset["line_count"] == 1000
    return str(dataset["id"])


def finished(client: Client, spec: dict[str, Any]) -> dict[str, Any]:
    job = wait_for(client, client.create_job(spec)["id"])
    assert job["status"] == "succeeded", job["error"]
    return job


def mean_logprob(model: Any, prompt: list[int], response: list[int]) -> float:
    with torch.no_grad():
        logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    chosen = logits.log_softmax(-1).gather(1, torch.tensor(response)[:, None])
    return float(chosen.mean())


@pytest.mark.parametrize("objective", ["pro", "rrhf"])
def test_hh_prompts_are_aligned_and_the_checkpoint_loads_in_plain_tools(
    objective: str, stack: Stack, hh_prompts: str, tiny_model: Path, tmp_path: Path
) -> None:
    with stack.client() as client:
        spec = small_job(
            hh_prompts,
            prompts={"dataset": hh_prompts, "sample": {"n": 6, "seed": 3}},
            method={"objective": {"type": objective}},
            optimizer={"lr": 0.05},
        )
        job = finished(client, spec)
        rankings = list(client.rankings(job["id"], stage="align"))
        agreements = list(client.agreements(job["id"]))
        trained = list(client.pages(f"/v1/jobs/{job['id']}/responses", stage="held_out_after"))
        client.download_archive(job["result"]["checkpoint_id"], tmp_path / "all.tar")
    assert {row["step"] for row in rankings} == set(range(6))
    assert job["progress"]["steps_done"] == 6
    assert len(agreements) == sum(row["black_box"] is not None for row in rankings)
    folder = unpacked(tmp_path / "all.tar")
    check_manifest(folder)
    check_weights(folder, tiny_model, trained)


def unpacked(archive: Path) -> Path:
    with tarfile.open(archive) as tar:
        # Python knows no filters before 3.11.4, and wants one from 3.12 on
        safely: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(archive.parent / "out", **safely)
    return next(path.parent for path in (archive.parent / "out").rglob("manifest.json"))


def check_manifest(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    forms = {entry["form"] for entry in manifest["files"]}
    assert {"adapter", "merged"} <= forms
    for entry in manifest["files"]:
        path = folder / entry["name"]
        if path.exists() or entry["role"] != "training_state":
            assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]


def check_weights(folder: Path, base: Path, trained: list[dict[str, Any]]) -> None:
    """Both forms give the log-probabilities that the trained policy had; the base gives others."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "merged")
    merged = AutoModelForCausalLM.from_pretrained(folder / "merged", dtype=torch.float32)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    before = [logprob_of(plain, tokenizer, response) for response in trained]
    adapted = PeftModel.from_pretrained(plain, folder / "adapter")
    stored = [response["logprob_sum"] / len(response["token_ids"]) for response in trained]
    assert [logprob_of(merged, tokenizer, r) for r in trained] == pytest.approx(stored, abs=1e-3)
    assert [logprob_of(adapted, tokenizer, r) for r in trained] == pytest.approx(stored, abs=1e-3)
    assert all(abs(a - b) > 1e-3 for a, b in zip(before, stored, strict=True))


def logprob_of(model: Any, tokenizer: Any, response: dict[str, Any]) -> float:
    prompt = tokenizer.apply_chat_template(response["prompt"], add_generation_prompt=True)
    return mean_logprob(model, list(prompt["input_ids"]), response["token_ids"])


def test_an_openai_judge_sees_demonstrations_and_its_calls_are_on_record(
    stack: Stack, judge_server: JudgeServer, tmp_path: Path
) -> None:
    with stack.client() as client:
        job = finished(client, small_job(upload_prompts(client, tmp_path), judge="endpoint"))
        calls = list(client.pages(f"/v1/jobs/{job['id']}/judge-calls"))
        demonstrations = list(client.pages(f"/v1/jobs/{job['id']}/demonstrations"))
        rankings = list(client.rankings(job["id"], stage="align"))
    assert all(call["state"] == "done" for call in calls)
    assert job["usage"]["judge_posts"] == len([c for c in calls if c["kind"] == "post"])
    assert job["usage"]["judge_cost_micros"] > 0
    assert any(row["teacher"] for row in rankings)
    assert all(len(shown["responses"]) >= 2 for shown in demonstrations)
    assert "sk-canary" not in json.dumps([calls, rankings, job])


def test_the_same_questions_are_paid_once(
    stack: Stack, judge_server: JudgeServer, tmp_path: Path
) -> None:
    with stack.client() as client:
        spec = small_job(upload_prompts(client, tmp_path), judge="endpoint", seed=77)
        first = finished(client, spec)
        posts = len(judge_server.posts)
        second = finished(client, spec)
    assert len(judge_server.posts) == posts
    assert second["usage"].get("judge_posts", 0) == 0
    assert second["usage"]["judge_reuses"] == first["usage"]["judge_posts"]


def test_a_running_job_is_cancelled_within_15_seconds(stack: Stack, tmp_path: Path) -> None:
    import time  # noqa: PLC0415

    with stack.client() as client:
        dataset = upload_prompts(
            client, tmp_path, [f"Tell me fact number {n}." for n in range(400)]
        )
        job = client.create_job(small_job(dataset))
        while client.job(job["id"])["status"] == "queued":
            time.sleep(0.1)
        client.cancel(job["id"])
        start = time.monotonic()
        ended = wait_for(client, job["id"], seconds=30)
    assert ended["status"] == "cancelled"
    assert time.monotonic() - start < 15


def test_full_tuning_gives_a_merged_model(stack: Stack, tmp_path: Path) -> None:
    with stack.client() as client:
        spec = small_job(upload_prompts(client, tmp_path))
        spec["model"]["tuning"] = {"type": "full"}
        job = finished(client, spec)
        manifest = client.checkpoint(job["result"]["checkpoint_id"])["manifest"]
    assert {entry["form"] for entry in manifest["files"] if entry["role"] == "weights"} == {
        "merged"
    }
