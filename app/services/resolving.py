"""What a job's fields become: the preset's values, the judge's limits, every default filled in."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel

from app.core.errors import FaultAt
from app.core.spec.catalogue import Catalogue, JudgeEntry, ModelEntry, entry_hash
from app.core.spec.job import JobSpec
from app.services.catalogue import Traits, resolved_model, traits_of

Path = tuple[str, ...]

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

_READS_NONE = "The judge reads no demonstrations."


@dataclass(frozen=True)
class Entries:
    """The catalogue's entries that a job names; None where there is no such entry."""

    model: ModelEntry | None
    judge: JudgeEntry | None

    @property
    def traits(self) -> Traits | None:
        """What the judge can do."""
        return None if self.judge is None else traits_of(self.judge)


def entries_of(spec: JobSpec, catalogue: Catalogue) -> Entries:
    """Look the job's names up."""
    return Entries(catalogue.models.get(spec.model.name), catalogue.judges.get(spec.judge.name))


def explicit(spec: BaseModel, path: Path) -> bool:
    """Whether the user set the field, rather than got its default."""
    head, *rest = path
    names = {field.alias or name: name for name, field in type(spec).model_fields.items()}
    name = names.get(head, head)
    if name not in spec.model_fields_set:
        return False
    return not rest or explicit(getattr(spec, name), tuple(rest))


def value_at(values: Mapping[str, Any], path: Path) -> Any:
    """Return the value at a path of nested objects."""
    for name in path:
        values = values[name]
    return values


def settled(spec: JobSpec) -> dict[str, Any]:
    """Return the whole spec as JSON, with the preset's values in place of defaults."""
    values = spec.model_dump(mode="json", by_alias=True)
    for path, pinned in PRESETS.get(spec.preset or "", {}).items():
        value_at(values, path[:-1])[path[-1]] = pinned
    return values


def spec_faults(spec: JobSpec, entries: Entries) -> Iterator[FaultAt]:
    """Yield everything wrong with the fields among themselves and with the catalogue."""
    if entries.model is None:
        yield FaultAt("model_not_allowed", "No such model; see GET /v1/models.", "/model/name")
    if entries.judge is None:
        yield FaultAt("judge_not_allowed", "No such judge; see GET /v1/judges.", "/judge/name")
    yield from _preset_faults(spec)
    values = settled(spec)
    yield from _length_faults(values)
    yield from _iteration_faults(spec, values)
    yield from _lane_faults(values)
    yield from _rank_faults(values)
    if entries.traits is not None:
        yield from _trait_faults(spec, entries.traits)


def _inconsistent(path: Path, message: str) -> FaultAt:
    return FaultAt("inconsistent_parameters", message, f"/{'/'.join(path)}")


def _preset_faults(spec: JobSpec) -> Iterator[FaultAt]:
    asked = spec.model_dump(mode="json", by_alias=True)
    for path, pinned in PRESETS.get(spec.preset or "", {}).items():
        if explicit(spec, path) and value_at(asked, path) != pinned:
            name = ".".join(path)
            yield _inconsistent(
                path, f"{name!r} contradicts 'preset', which pins it to {pinned}. Leave one out."
            )


def _length_faults(values: dict[str, Any]) -> Iterator[FaultAt]:
    generation = values["generation"]
    if generation["max_new_tokens"] >= generation["max_length"]:
        yield _inconsistent(
            ("generation", "max_new_tokens"),
            "'generation.max_new_tokens' leaves no room for a prompt in 'generation.max_length', "
            "which counts prompt and response together.",
        )


def _iteration_faults(spec: JobSpec, values: dict[str, Any]) -> Iterator[FaultAt]:
    path = ("method", "dynamic_demonstrations")
    ablated = explicit(spec, path) and spec.method.dynamic_demonstrations != "agreement"
    if ablated and values["method"]["iterations"] == 1:
        yield _inconsistent(
            path,
            "'method.dynamic_demonstrations' could have no effect with one of "
            "'method.iterations': demonstrations are read from the second on.",
        )


def _lane_faults(values: dict[str, Any]) -> Iterator[FaultAt]:
    if values["method"]["staleness"] and values["method"]["concurrency"] == 1:
        yield _inconsistent(
            ("method", "staleness"),
            "'method.staleness' needs two lanes of 'method.concurrency' or more: one half is "
            "sampled while the other is judged.",
        )


def _rank_faults(values: dict[str, Any]) -> Iterator[FaultAt]:
    engine = values["engine"]
    if engine["zero"] is not None:
        return
    if engine["ranks"] > 1:
        yield _inconsistent(
            ("engine", "ranks"), "More than one of 'engine.ranks' needs 'engine.zero', 2 or 3."
        )
    if engine["offload_optimizer"]:
        yield _inconsistent(
            ("engine", "offload_optimizer"),
            "'engine.offload_optimizer' needs 'engine.zero', 2 or 3; one rank is enough.",
        )


def _trait_faults(spec: JobSpec, traits: Traits) -> Iterator[FaultAt]:
    if spec.method.teacher == "on" and not traits.writes_response:
        yield _inconsistent(
            ("method", "teacher"),
            "'method.teacher' is on, but the judge of 'judge.name' writes no responses.",
        )
    if spec.held_out is not None and not traits.gives_scores:
        yield _inconsistent(
            ("held_out",), "'held_out' needs scores, and the judge of 'judge.name' gives none."
        )
    if traits.reads_demonstrations:
        return
    if spec.method.dynamic_demonstrations != "agreement":
        yield _inconsistent(
            ("method", "dynamic_demonstrations"),
            "'method.dynamic_demonstrations' could have no effect: the judge of 'judge.name' "
            "reads no demonstrations.",
        )
    if spec.demonstrations == "none":
        yield _inconsistent(
            ("demonstrations",),
            "'demonstrations' is an ablation that could have no effect: the judge of "
            "'judge.name' reads none.",
        )


def not_applicable(spec: JobSpec, traits: Traits) -> list[dict[str, str]]:
    """List the fields that the judge cannot honour and that are no ablations."""
    found = []
    if not traits.reads_demonstrations:
        found.append({"field": "demonstrations", "reason": _READS_NONE})
        found.append({"field": "method.dynamic_demonstrations", "reason": _READS_NONE})
    if spec.method.teacher == "auto" and not traits.writes_response:
        found.append({"field": "method.teacher", "reason": "The judge writes no responses."})
    return found


def resolved_spec(spec: JobSpec, model: ModelEntry, judge: JudgeEntry) -> dict[str, Any]:
    """Return the settled spec with what the catalogue adds to it."""
    values = settled(spec)
    traits = traits_of(judge)
    values["model"] |= resolved_model(model)
    values["judge"] |= {
        "type": judge.type,
        "traits": asdict(traits),
        "entry_sha256": entry_hash(judge),
    }
    wanted = {"auto": traits.writes_response, "on": True, "off": False}
    values["method"]["teacher"] = wanted[spec.method.teacher]
    values["not_applicable"] = not_applicable(spec, traits)
    return values
