"""A plan from the command line: run through the whole stack, kept, and not run a second time."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.stack.jobs import PROMPTS, small_job
from tests.stack.running import Stack

pytestmark = pytest.mark.stack


def command(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from cyclealign.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments, "--url", stack.url],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def write_plan(folder: Path) -> Path:
    (folder / "train.txt").write_text("\n".join(PROMPTS[:3]) + "\n")
    (folder / "held-out.txt").write_text("\n".join(PROMPTS[3:]) + "\n")
    plan = {
        "datasets": {
            "train": {"file": "train.txt", "kind": "prompts"},
            "held_out": {"file": "held-out.txt", "kind": "prompts"},
        },
        "experiment": {
            "name": "tiny",
            "base": small_job("@train"),
            "axes": [
                {
                    "name": "judge",
                    "values": [
                        {"label": "whole"},
                        {"label": "half random", "set": {"/method/judge_noise": 0.5}},
                    ],
                }
            ],
            "seeds": [1],
            "evaluation": {
                "prompts": {"dataset": "@held_out"},
                "scorers": [{"name": "@scorer"}],
                "generation": {"max_new_tokens": 8, "max_length": 256},
            },
        },
    }
    path = folder / "plan.json"
    path.write_text(json.dumps(plan))
    return path


def test_a_plan_is_run_once_and_its_results_are_kept(stack: Stack, tmp_path: Path) -> None:
    plan, results = write_plan(tmp_path), tmp_path / "results"
    asked = ("experiment", str(plan), "--data", str(tmp_path), "--out", str(results))
    first = command(stack, *asked, "--let", "scorer=rubric")
    assert first.returncode == 0, first.stdout + first.stderr
    kept = json.loads((results / "tiny.json").read_text())["report"]
    assert kept["complete"]
    assert [row["label"] for row in kept["rows"]] == ["start", "whole", "half random"]
    assert all(row["scores"][0]["missing"] == 0 for row in kept["rows"])
    assert "half random,rubric,1," in (results / "tiny.csv").read_text()
    assert "<svg" in (results / "tiny.html").read_text()
    again = command(stack, *asked, "--let", "scorer=rubric")
    assert "holds the results of just this plan" in again.stdout
    (results / "tiny.json").unlink()
    with stack.client() as client:
        before = sum(1 for _ in client.jobs())
    anew = command(stack, *asked, "--let", "scorer=rubric")
    assert anew.returncode == 0, anew.stdout + anew.stderr
    with stack.client() as client:
        # the experiment itself, and nothing that would have to run
        assert sum(1 for _ in client.jobs()) == before + 1


def test_an_evaluation_is_submitted_watched_and_reported(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "held-out.txt").write_text("\n".join(PROMPTS[3:]) + "\n")
    with stack.client() as client:
        dataset = client.upload_dataset(tmp_path / "held-out.txt", "prompts")["id"]
    asked: dict[str, Any] = {
        "prompts": {"dataset": dataset},
        "contestants": [{"label": "tiny", "model": "tiny"}],
        "scorers": [{"name": "rubric"}],
        "generation": {"max_new_tokens": 8, "max_length": 256},
    }
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(asked))
    submitted = command(stack, "evaluate", str(path), "--wait")
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    job_id = submitted.stdout.splitlines()[0]
    shown = command(stack, "report", job_id)
    assert json.loads(shown.stdout)["contestants"][0]["answers"] == 3
