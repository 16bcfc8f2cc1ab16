"""Progress and usage of a run, advanced event by event; progress rewinds, usage never does."""

from collections.abc import Mapping
from typing import Any

from worker.cycle.contest import GIVEN
from worker.cycle.events import (
    Answered,
    AskedAgain,
    Compared,
    Event,
    Iterated,
    Rated,
    Scored,
    StepEnded,
    Taught,
    Valued,
)
from worker.cycle.orders import position_consistency


def after(progress: Mapping[str, Any], event: Event) -> dict[str, Any]:
    """Return the progress after an event."""
    now = dict(progress)
    match event:
        case Iterated():
            _iterated(now, event)
        case StepEnded():
            _step_ended(now, event)
        case Scored():
            _scored(now, event)
        case Taught():
            _taught(now, event)
        case Answered() | Rated() | Compared() | AskedAgain():
            now["steps_done"] = now.get("steps_done", 0) + 1
        case Valued() if event.at.stage == GIVEN:
            now["steps_done"] = now.get("steps_done", 0) + 1
        case _:
            pass
    return now


def _iterated(now: dict[str, Any], event: Iterated) -> None:
    now["step"] = event.at.step
    now["iteration"] = event.at.iteration
    now["iterations_done"] = now.get("iterations_done", 0) + 1
    if event.learned is None:
        skipped = dict(now.get("skipped", {}))
        skipped[event.outcome.value] = skipped.get(event.outcome.value, 0) + 1
        now["skipped"] = skipped
    if event.black is not None and event.candidates:
        share = len(event.agreement) / len(event.candidates)
        _mean(now, "agreement_mean", "rankings", share)
    consistency = position_consistency(event.orders)
    if consistency is not None:
        _mean(now, "position_consistency_mean", "rankings_in_orders", consistency)


def _step_ended(now: dict[str, Any], event: StepEnded) -> None:
    now["agreed"] = now.get("agreed", 0) + event.agreed
    _mean(now, "mean_iterations", "steps_done", event.iterations)


def _taught(now: dict[str, Any], event: Taught) -> None:
    now["step"] = event.at.step
    now["epoch"] = event.at.iteration
    now["iterations_done"] = now.get("iterations_done", 0) + 1
    if event.last:
        now["steps_done"] = now.get("steps_done", 0) + 1


def _mean(now: dict[str, Any], mean: str, count: str, value: float) -> None:
    seen = now.get(count, 0)
    now[mean] = (now.get(mean, 0.0) * seen + value) / (seen + 1)
    now[count] = seen + 1


def _scored(now: dict[str, Any], event: Scored) -> None:
    when = event.at.stage.removeprefix("held_out_")
    held_out = dict(now.get("held_out", {}))
    tally = dict(held_out.get(when, {"mean": 0.0, "n": 0, "prompts": 0}))
    for score in event.scores:
        tally["mean"] = (tally["mean"] * tally["n"] + score) / (tally["n"] + 1)
        tally["n"] += 1
    tally["prompts"] += 1
    now["held_out"] = held_out | {when: tally}


def usage_after(usage: Mapping[str, Any], event: Event) -> dict[str, Any]:
    """Return the usage after an event, in tokens; lost work counts as well."""
    now = dict(usage)
    if isinstance(event, Iterated | Scored | Answered):
        made = sum(len(sample.tokens) for sample in event.samples)
        now["generated_tokens"] = now.get("generated_tokens", 0) + made
    if isinstance(event, Iterated) and event.learned and event.training:
        seen = sum(len(tokens or ()) for tokens in event.training.tokens)
        now["trained_tokens"] = now.get("trained_tokens", 0) + seen
    return now
