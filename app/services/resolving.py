"""What a job's fields become: the preset's values, the judge's limits, every default filled in."""

from collections.abc import Iterator
from typing import Any

from app.core.errors import FaultAt
from app.core.spec.job import JobSpec
from app.core.spec.method import CycleAlign
from app.services.catalogue import Traits, chooses, resolved_judge, resolved_model
from app.services.consistency import Path, explicit, inconsistent, length_faults, value_at
from app.services.cycle_rules import cycle_faults, not_applicable
from app.services.entries import Entries
from app.services.offline_rules import offline_faults
from app.services.start_rules import resolved_start, start_faults

MOST_CHOSEN_FROM = 5
"""Candidates that a judge can rank by choosing: there are 120 rankings of five."""
PRESETS: dict[str, dict[Path, Any]] = {
    "paper": {
        ("method", "candidates"): 3,
        ("method", "objective", "lambda"): 4.0,
        ("method", "iterations"): 5,
        ("method", "concurrency"): 1,
        ("method", "update"): "per_prompt",
        ("method", "staleness"): 0,
        ("optimizer", "lr"): 5e-5,
        ("generation", "max_length"): 512,
    }
}
"""Every value that CycleAlign's paper states; one lane is its batch of one prompt."""


def settled(spec: JobSpec) -> dict[str, Any]:
    """Return the whole spec as JSON, with the preset's values in place of defaults."""
    values = spec.model_dump(mode="json", by_alias=True)
    if isinstance(spec.method, CycleAlign):
        for path, pinned in PRESETS.get(spec.preset or "", {}).items():
            value_at(values, path[:-1])[path[-1]] = pinned
    return values


def spec_faults(spec: JobSpec, entries: Entries) -> Iterator[FaultAt]:
    """Yield everything wrong with the fields among themselves and with the catalogue."""
    if entries.model is None:
        yield FaultAt("model_not_allowed", "No such model; see GET /v1/models.", "/model/name")
    yield from entries.faults
    yield from start_faults(spec, entries)
    values = settled(spec)
    yield from length_faults(values["generation"])
    yield from _rank_faults(values)
    yield from _held_out_faults(spec, entries.traits)
    match spec.method:
        case CycleAlign():
            yield from _preset_faults(spec)
            yield from _choosing_faults(values, entries)
            yield from cycle_faults(spec, spec.method, values, entries.traits)
        case _:
            yield from offline_faults(spec)


def _preset_faults(spec: JobSpec) -> Iterator[FaultAt]:
    asked = spec.model_dump(mode="json", by_alias=True)
    for path, pinned in PRESETS.get(spec.preset or "", {}).items():
        if explicit(spec, path) and value_at(asked, path) != pinned:
            name = ".".join(path)
            yield inconsistent(
                path, f"{name!r} contradicts 'preset', which pins it to {pinned}. Leave one out."
            )


def _choosing_faults(values: dict[str, Any], entries: Entries) -> Iterator[FaultAt]:
    candidates = values["method"]["candidates"]
    if entries.judge and chooses(entries.judge) and candidates > MOST_CHOSEN_FROM:
        yield inconsistent(
            ("method", "candidates"),
            f"The judge chooses among all rankings, so at most {MOST_CHOSEN_FROM} of "
            "'method.candidates' can stand before it.",
        )


def _held_out_faults(spec: JobSpec, traits: Traits | None) -> Iterator[FaultAt]:
    if spec.held_out is None:
        return
    if spec.judge is None:
        yield inconsistent(("held_out",), "'held_out' needs a 'judge' that scores the responses.")
    elif traits is not None and not traits.gives_scores:
        yield inconsistent(
            ("held_out",), "'held_out' needs scores, and the judge of 'judge.name' gives none."
        )


def _rank_faults(values: dict[str, Any]) -> Iterator[FaultAt]:
    engine = values["engine"]
    if engine["zero"] is not None:
        return
    if engine["ranks"] > 1:
        yield inconsistent(
            ("engine", "ranks"), "More than one of 'engine.ranks' needs 'engine.zero', 2 or 3."
        )
    if engine["offload_optimizer"]:
        yield inconsistent(
            ("engine", "offload_optimizer"),
            "'engine.offload_optimizer' needs 'engine.zero', 2 or 3; one rank is enough.",
        )


def resolved_spec(spec: JobSpec, entries: Entries) -> dict[str, Any]:
    """Return the settled spec with what the catalogue adds to it."""
    assert entries.model is not None
    values = settled(spec)
    values["model"] |= resolved_model(entries.model)
    if entries.start is not None:
        values["model"]["start"] = resolved_start(*entries.start)
    values["not_applicable"] = []
    if entries.judge is not None:
        values["judge"] |= resolved_judge(entries.judge)
    if isinstance(spec.method, CycleAlign) and entries.traits is not None:
        wanted = {"auto": entries.traits.writes_response, "on": True, "off": False}
        values["method"]["teacher"] = wanted[spec.method.teacher]
        values["not_applicable"] = not_applicable(spec.method, entries.traits)
    return values
