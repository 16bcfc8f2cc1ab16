"""Small jobs for the running stack."""

from pathlib import Path
from typing import Any

from cyclealign.client import Client

PROMPTS = [
    "How do I boil an egg?",
    "Name three uses of baking soda.",
    "Why is the sky blue?",
    "Write a line about rain.",
    "What is a fair price for a used bike?",
    "How can I sleep better?",
]


def upload_prompts(client: Client, folder: Path, texts: list[str] | None = None) -> str:
    """Upload plain-text prompts; return the dataset's id."""
    path = folder / "prompts.txt"
    path.write_text("\n".join(texts or PROMPTS) + "\n")
    dataset = client.upload_dataset(path, "prompts")
    assert dataset["state"] == "ready", dataset
    return str(dataset["id"])


def small_job(dataset: str, **changes: Any) -> dict[str, Any]:
    """Return a job on the tiny model that takes seconds."""
    method = {"type": "cyclealign", "iterations": 2, "candidates": 3, "concurrency": 2}
    judge: dict[str, Any] = {"name": changes.pop("judge", "rubric")}
    if "judge_checkpoint" in changes:
        judge = {"checkpoint": changes.pop("judge_checkpoint")}
    if "orders" in changes:
        judge["orders"] = changes.pop("orders")
    return {
        "name": "small",
        "model": {"name": "tiny", "tuning": {"type": "lora", "rank": 4, "alpha": 8.0}},
        "judge": judge,
        "prompts": {"dataset": dataset},
        "method": method | changes.pop("method", {}),
        "generation": {"max_new_tokens": 12, "max_length": 256},
        "optimizer": {"lr": 0.003},
        "checkpoints": {"every_rounds": 2, "keep": 2},
        "seed": 5,
        **changes,
    }
