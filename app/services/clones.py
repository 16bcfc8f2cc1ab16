"""Clones: a new job with another one's spec, changed here and there, perhaps from a checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError
from sqlalchemy.orm import Session

from app.core.errors import Conflict, FaultAt, Invalid
from app.core.models import ALIGNMENT, Job
from app.core.spec.catalogue import Catalogue
from app.core.spec.clone import CloneSpec
from app.core.spec.job import JobSpec
from app.services import jobs
from app.services.consistency import inconsistent, refusal
from app.services.faults import fields_of, models_in, validation_faults

Json = dict[str, Any]
Models = Sequence[type[BaseModel]]


def clone(
    session: Session, workspace: str, job_id: str, asked: CloneSpec, catalogue: Catalogue
) -> Job:
    """Check everything at once and queue the new job, whatever state the other one is in.

    Raises:
        NotFound: there is no such job.
        Conflict: it is no alignment job.
        Invalid: the new job cannot be done as asked; it carries every fault.
    """
    source = jobs.get(session, workspace, job_id)
    if source.kind != ALIGNMENT:
        raise Conflict(
            f"The job is an {source.kind}, and only alignment jobs can be cloned.",
            code="not_an_alignment",
            facts={"kind": source.kind},
        )
    body = _body(source.spec, asked)
    try:
        checked = jobs.check(session, workspace, _read(body), catalogue)
    except Invalid as invalid:
        raise refusal([_placed(fault, asked, body) for fault in invalid.faults]) from None
    checked.job.cloned_from = source.id
    return jobs.queue(session, checked)


def _body(spec: Json, asked: CloneSpec) -> Json:
    body = merged(spec, asked.overrides, [JobSpec])
    if asked.from_ is None:
        return body
    if _touches(asked.overrides, ["model", "checkpoint"]):
        message = "'from' and 'overrides' both say where to start; leave one of them out."
        raise refusal([inconsistent(("from", "checkpoint"), message)])
    return merged(body, {"model": {"checkpoint": asked.from_.checkpoint}}, [JobSpec])


def merged(base: Mapping[str, Any], changes: Mapping[str, Any], models: Models) -> Json:
    """Put changes into an object, field by field; `models` are those that it may be of."""
    new = {
        name: _changed(base.get(name), value, _inner(models, name))
        for name, value in changes.items()
    }
    return {**base, **new}


def _changed(old: Any, new: Any, models: Models) -> Any:
    """Merge objects, unless the new one is another member of a union: their fields differ."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    if len(models) > 1 and new.get("type", old.get("type")) != old.get("type"):
        return new
    return merged(old, new, models)


def _inner(models: Models, name: str) -> Models:
    return [
        inner
        for model in models
        for field, annotation in fields_of(model)
        if field == name
        for inner in models_in(annotation)
    ]


def _read(body: Json) -> JobSpec:
    try:
        return JobSpec.model_validate(body)
    except ValidationError as error:
        raise refusal(validation_faults(error, body, JobSpec)) from None


def _placed(fault: FaultAt, asked: CloneSpec, body: Json) -> FaultAt:
    """Say where in the request a fault comes from, or that it is the other job's own."""
    pointer = fault.pointer or ""
    place = pointer.split("/")[1:]
    if asked.from_ is not None and place == ["model", "checkpoint"]:
        return replace(fault, pointer="/from/checkpoint")
    if _has(body, place) and not _touches(asked.overrides, place):
        return replace(fault, message=f"In the job that is cloned: {fault.message}")
    return replace(fault, pointer=f"/overrides{pointer}")


def _touches(overrides: Any, place: Sequence[str]) -> bool:
    """Whether the overrides set this place, or something that it lies in."""
    if not place or not isinstance(overrides, dict):
        return True
    return place[0] in overrides and _touches(overrides[place[0]], place[1:])


def _has(body: Any, place: Sequence[str]) -> bool:
    """Whether there is a value at this place."""
    if not place or not isinstance(body, dict):
        return True
    return place[0] in body and _has(body[place[0]], place[1:])
