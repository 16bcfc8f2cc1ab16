"""The demo's own data: what a small model is aligned on in a few minutes."""

import json
import re
from importlib.resources import files
from typing import Any

from app.core.spec.job import JobSpec
from cyclealign.demo.demo import UPLOADS, demo_spec

DATA = files("cyclealign.demo")
DATASET = "ds_06dyzt1b3d5f7h9k2m4p6r8t0w"


def _rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in DATA.joinpath(name).read_text("utf-8").splitlines()]


def _plain(prompt: str) -> str:
    return " ".join(re.findall(r"\w+", prompt.lower()))


def test_there_are_enough_prompts_of_every_kind() -> None:
    training, held_out = _rows("prompts.jsonl"), _rows("held_out.jsonl")
    assert len(training) == 96
    assert len(held_out) == 32
    assert {row["subset"] for row in training} == {row["subset"] for row in held_out}


def test_no_prompt_stands_twice_or_in_both_files() -> None:
    rows = _rows("prompts.jsonl") + _rows("held_out.jsonl")
    assert len({_plain(row["prompt"]) for row in rows}) == len(rows)
    assert len({row["id"] for row in rows}) == len(rows)


def test_prompts_are_short_and_plain() -> None:
    for row in _rows("prompts.jsonl") + _rows("held_out.jsonl"):
        assert row.keys() == {"id", "prompt", "subset"}
        assert 20 <= len(row["prompt"]) <= 160
        assert row["prompt"] == row["prompt"].strip()
        assert row["prompt"].isascii()


def test_the_demonstration_ranks_each_of_its_responses_once() -> None:
    (row,) = _rows("demonstration.jsonl")
    ranked = [item for group in row["ranking"] for item in group]
    assert sorted(ranked) == list(range(len(row["responses"]))) == [0, 1, 2, 3]
    held_out = {_plain(other["prompt"]) for other in _rows("held_out.jsonl")}
    assert _plain(row["prompt"]) not in held_out


def test_the_demo_job_is_one_that_the_service_accepts() -> None:
    spec = JobSpec.model_validate_json(json.dumps(demo_spec(dict.fromkeys(UPLOADS, DATASET))))
    assert spec.prompts.sample is not None
    assert spec.prompts.sample.n <= 96
    assert spec.held_out is not None
    assert spec.held_out.sample is not None
    assert spec.held_out.sample.n <= 32
    assert spec.metadata["demo"] == "1"


def test_another_job_file_or_dataset_is_another_demo() -> None:
    one = demo_spec(dict.fromkeys(UPLOADS, DATASET))
    other = demo_spec(dict.fromkeys(UPLOADS, DATASET[:-1] + "x"))
    assert one["metadata"] != other["metadata"]
    assert one == demo_spec(dict.fromkeys(UPLOADS, DATASET))
