"""A reward model, a baseline and their evaluation through HTTP, Celery and the real runner."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification

from cyclealign.client import Client
from tests.stack.jobs import upload_prompts
from tests.stack.running import Stack, wait_for

pytestmark = pytest.mark.stack

POLITE = "Yes, with pleasure: here is how."
RUDE = "No. Go away."


def upload_pairs(client: Client, folder: Path) -> str:
    path = folder / "pairs.jsonl"
    rows = [
        {"prompt": f"Could you help me with task {k}?", "chosen": POLITE, "rejected": RUDE}
        for k in range(12)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(client.upload_dataset(path, "preferences")["id"])


def finished(client: Client, job: dict[str, Any]) -> dict[str, Any]:
    ended = wait_for(client, job["id"])
    assert ended["status"] == "succeeded", ended["error"]
    return ended


def asked(dataset: str, method: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": {"name": "tiny", "tuning": {"type": "lora", "rank": 4, "alpha": 8.0}},
        "prompts": {"dataset": dataset},
        "method": method,
        "generation": {"max_new_tokens": 48, "max_length": 256},
        "optimizer": {"lr": 0.01},
    }


def test_a_reward_model_tells_a_trained_model_from_where_it_started(
    stack: Stack, tmp_path: Path
) -> None:
    with stack.client() as client:
        pairs = upload_pairs(client, tmp_path)
        prompts = upload_prompts(client, tmp_path)
        reward = finished(
            client, client.create_job(asked(pairs, {"type": "reward_model", "epochs": 6}))
        )
        assert client.report(reward["id"])["accuracy"]["value"] == 1.0
        aligned = finished(client, client.create_job(asked(pairs, {"type": "sft", "epochs": 8})))
        judge = {"checkpoint": reward["result"]["checkpoint_id"]}
        evaluation = client.create_evaluation(
            {
                "prompts": {"dataset": prompts},
                "contestants": [
                    {"label": "start", "model": "tiny"},
                    {"label": "aligned", "checkpoint": aligned["result"]["checkpoint_id"]},
                ],
                "scorers": [judge],
                "pairwise": {"judge": judge, "baseline": "start"},
                "given": {"dataset": pairs},
                "generation": {"max_new_tokens": 48, "max_length": 256},
            }
        )
        finished(client, evaluation)
        report = client.report(evaluation["id"])
        start, trained = report["contestants"]
        assert report["complete"]
        assert trained["scores"][0]["total"]["value"] > start["scores"][0]["total"]["value"]
        assert trained["given"]["perplexity"] < start["given"]["perplexity"]
        assert trained["given"]["accuracy"]["value"] == 1.0
        [duel] = report["comparisons"]
        record = duel["record"]
        assert record["win"] + record["tie"] + record["lose"] == 6
        assert duel["record"]["position_consistency"] == 1.0
        client.download_files(judge["checkpoint"], tmp_path / "reward")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward" / "merged")
    assert model.score.out_features == 1
