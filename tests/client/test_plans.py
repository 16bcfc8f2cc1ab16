"""Plans: what they stand for, when one is finished, and what is wrong with one."""

import json
from pathlib import Path
from typing import Any

import pytest

from cyclealign.errors import BadPlan
from cyclealign.plans import Plan, finished, read_plan

EXPERIMENT = {"name": "e", "base": {"prompts": {"dataset": "@prompts"}, "judge": "@judge"}}
BODY: dict[str, Any] = {
    "datasets": {"prompts": {"file": "p.txt", "kind": "prompts"}},
    "experiment": EXPERIMENT,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p.txt").write_text("hello\n")
    (tmp_path / "plan.json").write_text(json.dumps(BODY))
    return tmp_path


def read(folder: Path, **given: str) -> Plan:
    return read_plan(folder / "plan.json", folder, given or {"judge": "rubric"})


def test_a_name_that_stands_for_nothing_is_told_with_its_remedy(folder: Path) -> None:
    with pytest.raises(BadPlan, match="@judge stands for nothing; give it with --let judge=VALUE"):
        read(folder, other="x")


def test_files_that_are_not_there_are_told(folder: Path) -> None:
    (folder / "p.txt").unlink()
    with pytest.raises(BadPlan, match=r"not there: .*p\.txt"):
        read(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"experiment": 1, "datasets": {"a": {}}}'])
def test_what_is_no_plan_is_refused(folder: Path, text: str) -> None:
    (folder / "plan.json").write_text(text)
    with pytest.raises(BadPlan, match="is no plan"):
        read(folder)


def test_a_finished_plan_is_known_until_anything_of_it_changes(folder: Path) -> None:
    plan = read(folder)
    assert finished(plan, folder) is None
    found = {"plan_sha256": plan.sha256, "report": {"complete": True}}
    (folder / "e.json").write_text(json.dumps(found))
    assert finished(plan, folder) == folder / "e.json"
    assert finished(read(folder, judge="another"), folder) is None
    (folder / "p.txt").write_text("hello again\n")
    assert finished(read(folder), folder) is None


def test_a_result_that_is_not_whole_does_not_count(folder: Path) -> None:
    plan = read(folder)
    found = {"plan_sha256": plan.sha256, "report": {"complete": False}}
    (folder / "e.json").write_text(json.dumps(found))
    assert finished(plan, folder) is None


def test_a_result_is_never_written_over_a_file_that_is_none(folder: Path) -> None:
    plan = read(folder)
    (folder / f"{plan.name}.json").write_text(json.dumps({"experiment": {}}))
    with pytest.raises(BadPlan, match="choose another --out"):
        finished(plan, folder)
