"""What the demo says at its end."""

import io
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cyclealign.demo.outcome import Answers, Outcome, render, typical, verdict
from cyclealign.watching import ending_of, show, view_of

PROGRESS = {
    "steps_done": 20,
    "steps_total": 20,
    "step": 19,
    "iteration": 1,
    "iterations_max": 3,
    "iterations_done": 54,
    "agreed": 5,
    "agreement_mean": 0.56,
    "mean_iterations": 2.8,
    "held_out": {
        "before": {"mean": 0.7, "n": 48, "prompts": 24},
        "after": {"mean": 0.6, "n": 48, "prompts": 24},
    },
}


def _job(status: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": "job_1",
        "status": status,
        "phase": None,
        "eta_seconds": None,
        "update": 54,
        "resolved": {"held_out": {"rows": 24}},
        "progress": PROGRESS | changes,
    }


def _console() -> Console:
    return Console(file=io.StringIO(), width=100)


def _said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_fall_of_the_score_is_said_plainly() -> None:
    assert verdict(0.7, 0.6) == ("The held-out score FELL by 0.100: this run made the model worse.")
    assert verdict(0.6, 0.7) == "The held-out score rose by 0.100."
    assert verdict(0.6, 0.6) == "The held-out score did not change."


def test_the_end_shows_both_scores_both_answers_and_the_folder() -> None:
    console = _console()
    shown = Answers("Why [b]?", "It [red]is.\x1b[2J", 0.5, "Because.", 0.6)
    outcome = Outcome(_job("succeeded"), shown, Path("/data/demo/ckpt_1"), 12, 245.0)
    render(console, outcome)
    said = _said(console)
    for part in ("0.700", "0.600", "2.80", "5 of 20", "4:05", "FELL", "ckpt_1/merged"):
        assert part in said
    assert "Why [b]?" in said
    assert "It [red]is.?[2J" in said


def test_the_prompt_shown_is_the_typical_one_not_the_best_one() -> None:
    before = {0: 0.5, 1: 0.5, 2: 0.5, 3: 0.5}
    assert typical(before, {0: 0.9, 1: 0.4, 2: 0.62, 3: 0.5}) == 2
    assert typical({}, {0: 1.0}) is None


@given(st.dictionaries(st.integers(0, 9), st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1))
def test_a_prompt_scored_on_both_sides_is_always_found(
    scores: dict[int, tuple[float, float]],
) -> None:
    before = {step: pair[0] for step, pair in scores.items()}
    after = {step: pair[1] for step, pair in scores.items()}
    assert typical(before, after) in scores


def test_the_parts_of_a_run_follow_each_other() -> None:
    nothing = {"steps_done": 0, "iterations_done": 0}
    at = [
        _job("queued", held_out={}, **nothing),
        _job("running", held_out={"before": {"prompts": 16}}, **nothing),
        _job("running", held_out={"before": {"prompts": 24}}, **nothing),
        _job("running", held_out={"before": {"prompts": 24}}, steps_done=7),
        _job("running", held_out={"before": {"prompts": 24}}),
    ]
    assert [(view.part, view.done, view.total) for view in map(view_of, at)] == [
        ("waiting for the worker", 0, 20),
        ("scoring held-out prompts before", 16, 24),
        ("aligning", 0, 20),
        ("aligning", 7, 20),
        ("scoring held-out prompts after", 0, 24),
    ]


def test_without_a_terminal_progress_is_plain_lines() -> None:
    console = _console()
    jobs = [_job("running", steps_done=done) for done in (3, 3, 4)] + [_job("succeeded")]
    assert show(console, jobs)["status"] == "succeeded"
    lines = _said(console).splitlines()
    assert lines[0].startswith("aligning 3/20: ")
    assert "iteration 2/3" in lines[0]
    assert lines[1].startswith("aligning 4/20: ")
    assert "\x1b" not in _said(console)


def test_on_a_terminal_progress_is_a_bar() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    show(console, [_job("running", steps_done=3), _job("succeeded")])
    assert "20/20" not in _said(console)
    assert "24/24" in _said(console)


def test_the_end_of_a_job_is_told_with_its_checkpoint_or_its_error() -> None:
    made = {"id": "job_1", "status": "succeeded", "error": None}
    assert ending_of(made) == "job_1 succeeded."
    assert ending_of(made | {"result": {"checkpoint_id": "ckpt_1"}}) == "job_1 succeeded: ckpt_1"
    broken = made | {"status": "failed", "error": {"code": "stalled", "detail": "It hung."}}
    assert ending_of(broken) == "job_1 failed: It hung."
