"""JSON as the service accepts it: no repeated keys, no NaN, nothing that cannot be stored."""

import json
import math
import re
from typing import Any

from app.services.formats.rows import Notes

MAX_DEPTH = 32
SURROGATE = re.compile(r"[\ud800-\udfff]")


class _RefusedError(ValueError):
    """Raised inside the JSON reader, which knows no other way to stop."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def parse_object(notes: Notes) -> dict[str, Any] | None:
    """Return the line's JSON object; None, and the faults noted, when it is not a sound one."""
    value = _parse(notes)
    if notes.lost:
        return None
    if not isinstance(value, dict):
        notes.error("object_expected", "The line must be one JSON object.")
        return None
    _check(notes, value, "", MAX_DEPTH)
    return None if notes.lost else value


def child(pointer: str, key: str | int) -> str:
    """Return the JSON pointer (RFC 6901) of a member; keys are shortened and printable."""
    name = "".join(letter if letter.isprintable() else "?" for letter in str(key)[:64])
    return f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"


def _parse(notes: Notes) -> Any:
    try:
        return json.loads(
            notes.text, object_pairs_hook=_unique, parse_constant=_constant, parse_int=_integer
        )
    except json.JSONDecodeError as error:
        notes.error("malformed_json", f"Not valid JSON: {error.msg} at column {error.colno}.")
    except _RefusedError as error:
        notes.error(error.code, str(error))
    except RecursionError:
        _too_deep(notes, None)
    return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise _RefusedError("duplicate_key", "An object names one of its keys twice.")
    return value


def _constant(_name: str) -> Any:
    raise _RefusedError("finite_number_required", "Numbers must be finite; NaN is no JSON.")


def _integer(digits: str) -> int:
    if len(digits) > 64:  # noqa: PLR2004  # longer than any id or score
        raise _RefusedError("number_too_long", "A number has more than 64 digits.")
    return int(digits)


def _too_deep(notes: Notes, pointer: str | None) -> None:
    notes.error("too_deep", f"The object is nested deeper than {MAX_DEPTH} levels.", pointer)


def _check(notes: Notes, value: Any, pointer: str, depth: int) -> None:
    """Note every text and number below `value` that could not be stored."""
    match value:
        case str():
            _check_text(notes, value, pointer)
        case float() if not math.isfinite(value):
            notes.error("finite_number_required", "Numbers must be finite.", pointer)
        case dict() | list() if depth == 0:
            _too_deep(notes, pointer)
        case dict():
            for key, member in value.items():
                _check_text(notes, key, pointer or "/")
                _check(notes, member, child(pointer, key), depth - 1)
        case list():
            for place, member in enumerate(value):
                _check(notes, member, child(pointer, place), depth - 1)


def _check_text(notes: Notes, text: str, pointer: str) -> None:
    if "\x00" in text:
        notes.error("forbidden_character", "The text holds a NUL character.", pointer)
    if SURROGATE.search(text):
        notes.error("invalid_unicode", "The text holds a lone surrogate.", pointer)
