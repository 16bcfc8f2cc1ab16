"""Medians, ratios and what is said of systems that were not measured."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.engine import PRESETS, main, workloads
from benchmarks.measure import (
    Comparison,
    Run,
    agreeing,
    differing,
    measure,
    outcome,
    ratio,
    spread,
    summary,
    write,
)
from benchmarks.report import plot, swept_field, table
from benchmarks.systems import find, parse
from benchmarks.workload import Measured, Workload

BARE = importlib.util.find_spec("trl") is None


def measured(system: str, seconds: float, digest: str = "") -> Measured:
    return Measured(
        system,
        wall_seconds=seconds,
        cpu_seconds=1.0,
        peak_memory_bytes=2**20,
        prompt_iterations=10,
        samples=40,
        judge_wait_seconds=1.0,
        digest=digest,
        notes=(f"a note of {system}",),
    )


def comparison(workload: Workload | None = None) -> Comparison:
    """The engine takes 1, 2, 6 s where the reference takes 4, 4, 6 s."""
    runs = [Run("grpo", 0, 0.5, absent="not installed: trl")]
    for repeat, (plain, fast) in enumerate([(4.0, 1.0), (4.0, 2.0), (6.0, 6.0)]):
        runs.append(Run("reference", repeat, 0.5, measured("reference", plain, "a")))
        runs.append(Run("engine:k=4", repeat, 0.5, measured("engine:k=4", fast, "ab"[repeat > 1])))
    return Comparison(workload or Workload(), ("reference", "engine:k=4", "grpo"), tuple(runs))


def test_ratios_are_taken_within_a_repeat_and_then_their_median() -> None:
    found = comparison()
    assert ratio(found, "engine:k=4", "reference") == 2.0
    assert ratio(found, "engine:k=4", "grpo") is None
    assert spread(found, "engine:k=4") == pytest.approx(2.5)
    assert summary(found)["engine:k=4"]["wall_seconds"] == 2.0
    assert summary(found)["reference"]["judge_wait_share"] == 0.25
    assert "grpo" not in summary(found)


def test_bits_are_compared_between_repeats_and_between_systems() -> None:
    assert differing(comparison()) == ["engine:k=4"]
    assert agreeing(comparison()) == [["reference", "engine:k=4"]]


def test_the_table_says_what_is_absent_and_what_differs() -> None:
    text = table(comparison(), against="engine:k=4")
    assert "grpo: not installed: trl" in text
    assert "engine:k=4: repeats differ bit for bit" in text
    assert "equal bit for bit: reference, engine:k=4" in text
    assert "x engine:k=4" in text
    assert text.count("reference: a note of reference") == 1
    assert "0.400" in text


def test_results_are_written_with_their_machine(tmp_path: Path) -> None:
    path = write(tmp_path / "new", "quick", [comparison()], "engine:k=4")
    content = json.loads(path.read_text())
    assert content["machine"]["versions"]["torch"]
    assert content["comparisons"][0]["workload"]["model"] == "13m"
    assert len(content["comparisons"][0]["runs"]) == 7
    assert content["comparisons"][0]["summary"]["engine:k=4"]["to_reference"] == 2.0


def test_a_sweep_is_over_one_number() -> None:
    swept = workloads(PRESETS["quick"], ["tuning=lora"], ["candidates=2,4,8"])
    assert [each.candidates for each in swept] == [2, 4, 8]
    assert {each.tuning for each in swept} == {"lora"}
    assert swept_field(swept) == "candidates"
    assert swept_field([*swept, replace(swept[0], lr=1.0)]) is None
    assert swept_field(swept[:2]) is None


def test_a_plot_is_drawn_where_matplotlib_is(tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    said = plot([comparison()], path)
    drawn = importlib.util.find_spec("matplotlib") is not None
    assert path.exists() == drawn
    assert ("not installed" in said) != drawn


def test_names_hold_options() -> None:
    assert parse("engine:k=16,tree=1") == ("engine", {"k": "16", "tree": "1"})
    assert parse("grpo") == ("trl_grpo", {})
    with pytest.raises(ValueError, match="written name=value"):
        parse("engine:k")


@pytest.mark.parametrize("name", ["nothing", "grpo:speed=2"])
def test_unknown_systems_and_options_are_refused_before_anything_runs(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        find(name)
    with pytest.raises(SystemExit):
        main(["--systems", name])


def test_a_run_that_fails_in_its_process_leaves_its_last_words() -> None:
    run = measure("nothing", Workload(judge_seconds=0.0, threads=1))
    assert run.measured is None
    assert run.absent.startswith("failed: ")
    assert "no system 'nothing'" in run.absent


@pytest.mark.skipif(not BARE, reason="TRL is installed")
def test_a_system_whose_packages_are_missing_says_so() -> None:
    absent = {"absent": "not installed: trl, datasets; they come with extra `bench`"}
    assert outcome("grpo:prompts=1", Workload(threads=1), "") == absent
    assert outcome("online_dpo", Workload(threads=1), "") == absent
