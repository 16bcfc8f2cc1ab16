"""The rows of an experiment: every combination of its axes' values, as jobs to be checked."""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from app.core.errors import FaultAt
from app.core.spec.experiment import AxisSpec, ExperimentSpec, ValueSpec
from app.core.spec.job import JobSpec
from app.services.faults import validation_faults

START = "start"
"""The label of the start model beside the rows."""
MOST_RUNS = 500
LABEL_CHARACTERS = 64
"""As long as a contestant's label may be."""


@dataclass(frozen=True)
class Row:
    """One combination; `body` is its job as JSON, without a seed."""

    label: str
    values: dict[str, str]
    """By axis, the labels of its values."""
    body: dict[str, Any]


def rows_of(spec: ExperimentSpec) -> list[Row]:
    """Combine the axes' values, the last axis fastest."""
    base = spec.base.model_dump(mode="json", by_alias=True, exclude_unset=True)
    base.pop("seed", None)
    names = [axis.name for axis in spec.axes]
    return [
        Row(_label(chosen), _labels(names, chosen), _applied(base, chosen))
        for chosen in itertools.product(*(axis.values for axis in spec.axes))
    ]


def _label(chosen: Sequence[ValueSpec]) -> str:
    return " / ".join(value.label for value in chosen) or "base"


def _labels(names: Sequence[str], chosen: Sequence[ValueSpec]) -> dict[str, str]:
    return {name: value.label for name, value in zip(names, chosen, strict=True)}


def _applied(base: dict[str, Any], chosen: Sequence[ValueSpec]) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(json.dumps(base))
    for value in chosen:
        for pointer, new in value.set.items():
            _put(body, pointer[1:].split("/"), new)
    return body


def _put(body: dict[str, Any], path: Sequence[str], new: Any) -> None:
    """Replace a field; what it lies in is made where the base leaves it to its default."""
    *outer, last = path
    place = body
    for name in outer:
        inner = place.get(name)
        place[name] = inner if isinstance(inner, dict) else {}
        place = place[name]
    place[last] = new


def shape_faults(spec: ExperimentSpec) -> Iterator[FaultAt]:
    """Yield what is wrong with the axes and seeds among themselves."""
    if len(set(spec.seeds)) < len(spec.seeds):
        yield _wrong("A seed stands twice.", "/seeds")
    if len({axis.name for axis in spec.axes}) < len(spec.axes):
        yield _wrong("Two axes have the same name.", "/axes")
    for place, axis in enumerate(spec.axes):
        yield from _axis_faults(axis, f"/axes/{place}/values")
    rows = 1
    for axis in spec.axes:
        rows *= len(axis.values)
    if rows * len(spec.seeds) > MOST_RUNS:
        message = f"These are {rows * len(spec.seeds)} runs; at most {MOST_RUNS} go together."
        yield FaultAt("out_of_range", message, "/axes")


def _axis_faults(axis: AxisSpec, pointer: str) -> Iterator[FaultAt]:
    labels = [value.label for value in axis.values]
    if len(set(labels)) < len(labels):
        yield _wrong("Two values of an axis have the same label.", pointer)
    if any(label == START or label.startswith(f"{START} ") for label in labels):
        yield _wrong(f"{START!r} is the name of the start model's own row.", pointer)
    for place, value in enumerate(axis.values):
        if "/seed" in value.set:
            message = "'seed' is no field to vary; name the seeds in 'seeds'."
            yield _wrong(message, f"{pointer}/{place}/set")


def job_of(row: Row, seed: int) -> tuple[JobSpec | None, list[FaultAt]]:
    """Read a row's job, or say what is wrong with it."""
    if len(row.label) > LABEL_CHARACTERS:
        message = f"The row's name is over {LABEL_CHARACTERS} characters: {row.label!a}."
        return None, [FaultAt("invalid_length", message, "/axes")]
    body = row.body | {"name": _run_name(row, seed), "seed": seed}
    try:
        return JobSpec.model_validate_json(json.dumps(body)), []
    except ValidationError as error:
        faults = validation_faults(error, body, JobSpec)
        return None, [in_row(fault, row) for fault in faults]


def _run_name(row: Row, seed: int) -> str:
    whole = f"{row.label}, seed {seed}"
    return f"{row.body['name']}: {whole}"[:120] if "name" in row.body else whole


def in_row(fault: FaultAt, row: Row) -> FaultAt:
    """Say of a fault in which row it is."""
    where = f"In the row {row.label!r}: " if row.values else ""
    return FaultAt(fault.code, where + fault.message, f"/base{fault.pointer or ''}")


def _wrong(message: str, pointer: str) -> FaultAt:
    return FaultAt("inconsistent_parameters", message, pointer)
