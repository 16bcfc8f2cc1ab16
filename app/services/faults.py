"""From pydantic's errors to faults: a JSON pointer, a stable code, a message without the input."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from app.core.errors import FaultAt

Place = tuple[str | int, ...]

_CODES = {
    "missing": "missing",
    "extra_forbidden": "unknown_field",
    "greater_than": "out_of_range",
    "greater_than_equal": "out_of_range",
    "less_than": "out_of_range",
    "less_than_equal": "out_of_range",
    "finite_number": "finite_number_required",
    "literal_error": "not_allowed",
    "enum": "not_allowed",
    "union_tag_invalid": "unknown_type",
    "union_tag_not_found": "missing",
    "string_pattern_mismatch": "invalid_format",
    "string_unicode": "invalid_unicode",
    "string_too_short": "invalid_length",
    "string_too_long": "invalid_length",
    "too_short": "invalid_length",
    "too_long": "invalid_length",
    "forbidden_character": "forbidden_character",
    "invalid_unicode": "invalid_unicode",
}
_WEAK = {"type_error", "not_allowed"}
"""Codes that say little where another branch of a union says more about the same place."""


def faults_of(errors: Sequence[Mapping[str, Any]], body: Any, model: Any) -> list[dict[str, Any]]:
    """Render a failed validation of `body` against `model`, one fault a place."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for error in errors:
        fault = _fault(error, body, model)
        key = (fault.get("pointer", "?"), fault.get("parameter", ""))
        found[key] = _stronger(found[key], fault) if key in found else fault
    return _without_shadows(list(found.values()))


def validation_faults(error: ValidationError, body: Any, model: Any) -> list[FaultAt]:
    """Render what a model says of a body that was put together here."""
    found = [dict(one) | {"loc": ("body", *one["loc"])} for one in error.errors()]
    return [FaultAt(**fault) for fault in faults_of(found, body, model)]


def _fault(error: Mapping[str, Any], body: Any, model: Any) -> dict[str, Any]:
    source, *rest = error["loc"]
    code = _code(error["type"])
    if source in {"query", "path", "header"}:
        return {"parameter": str(rest[0])[:64], "code": code, "message": error["msg"]}
    if not rest:
        return {"pointer": "", **_whole_body(error["type"])}
    place = _place(tuple(rest), body, missing=error["type"] == "missing")
    if code == "unknown_field":
        message = _unknown(str(place[-1]), known_fields(model, tuple(rest[:-1])))
    else:
        message = _message(error)
    return {"pointer": pointer(place), "code": code, "message": message}


def _code(kind: str) -> str:
    return _CODES.get(kind) or ("type_error" if _is_type(kind) else "invalid_value")


def _is_type(kind: str) -> bool:
    return kind.endswith(("_type", "_parsing")) or kind == "int_from_float"


def _whole_body(kind: str) -> dict[str, str]:
    if kind == "missing":
        return {"code": "body_required", "message": "A JSON object is required as body."}
    return {"code": "object_expected", "message": "The body should be a JSON object."}


def _message(error: Mapping[str, Any]) -> str:
    # This message alone would repeat the input.
    if error["type"] == "union_tag_invalid":
        return f"Input should have a type of {error['ctx']['expected_tags']}"
    if error["type"] == "union_tag_not_found":
        return "The field 'type' is missing; it says which kind is meant."
    return str(error["msg"])


def _place(loc: Place, body: Any, *, missing: bool) -> Place:
    """Drop the names that unions add: what is neither in the body nor missing from it."""
    place: list[str | int] = []
    value = body
    for index, part in enumerate(loc):
        if _holds(value, part):
            value = value[part]
        elif not (missing and index == len(loc) - 1):
            continue
        place.append(part)
    return tuple(place)


def _holds(value: Any, part: str | int) -> bool:
    if isinstance(part, int):
        return isinstance(value, list) and part < len(value)
    return isinstance(value, Mapping) and part in value


def pointer(place: Place) -> str:
    """Write a JSON pointer (RFC 6901) in ASCII, as long as a reader can bear."""
    steps = [str(part).replace("~", "~0").replace("/", "~1") for part in place]
    return "".join(f"/{ascii(step)[1:-1]}" for step in steps)[:300]


def _stronger(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    if one["code"] in _WEAK and other["code"] not in _WEAK:
        return other
    if other["code"] in _WEAK and one["code"] not in _WEAK:
        return one
    return {**one, "message": f"{one['message']}; or: {other['message']}"}


def _without_shadows(faults: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Drop weak faults of a place inside of which there are others: another branch was meant."""
    inside = [fault["pointer"] for fault in faults if fault.get("pointer")]
    return [
        fault
        for fault in faults
        if fault["code"] not in _WEAK
        or not any(other.startswith(f"{fault.get('pointer')}/") for other in inside)
    ]


def _unknown(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    more = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(known))}."
    return f"unknown field {name[:64]!a}{more}"


def known_fields(model: Any, loc: Place) -> set[str]:
    """Return the names of the fields that an object at this place of a model may have."""
    meant = list(models_in(model))
    for part in loc:
        inner = [field for one in meant for name, field in fields_of(one) if name == part]
        if inner:
            meant = [one for field in inner for one in models_in(field)]
        else:
            meant = [one for one in meant if _is_named(one, part)] or meant
    return {name for one in meant for name, _ in fields_of(one)}


def fields_of(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    """Yield each field's name in JSON and its annotation."""
    for name, field in model.model_fields.items():
        yield field.alias or name, field.annotation


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that a value with this annotation may be, or hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def _is_named(model: type[BaseModel], part: str | int) -> bool:
    kind = model.model_fields.get("type")
    return model.__name__ == part or (kind is not None and part in get_args(kind.annotation))
