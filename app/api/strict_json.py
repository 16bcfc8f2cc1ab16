"""Reading JSON strictly: what two readers could understand differently is refused."""

import json
import re
from typing import Any

from app.core.errors import Invalid

MAX_DEPTH = 64
MAX_DIGITS = 400

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]|NaN|-?Infinity')


def _refused(text: str, position: int, why: str) -> Invalid:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return Invalid(
        f"The body is not JSON: {why} at line {line}, column {column}.",
        code="malformed_json",
        facts={"line": line, "column": column},
    )


def _scan(text: str) -> None:
    depth = 0
    for token in _TOKEN.finditer(text):
        match token.group()[0]:
            case "[" | "{":
                depth += 1
            case "]" | "}":
                depth -= 1
            case "N" | "I" | "-":
                raise _refused(text, token.start(), "NaN and Infinity are no numbers")
        if depth > MAX_DEPTH:
            raise Invalid(f"The body is nested deeper than {MAX_DEPTH} levels.", code="too_deep")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            name = ascii(key)[1:65]
            raise Invalid(f"The body has the key '{name}' twice in one object.", "duplicate_key")
        found[key] = value
    return found


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise Invalid(f"A number has more than {MAX_DIGITS} digits.", code="number_too_long")
    return int(text)


def read_json(body: bytes) -> Any:
    """Parse UTF-8 JSON; raises `Invalid` for repeated keys, depth, NaN and what is no JSON."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise Invalid(
            f"The body is not UTF-8 at byte {fault.start}.", code="invalid_encoding"
        ) from None
    if text.startswith("\ufeff"):
        raise Invalid("The body begins with a byte-order mark.", code="invalid_encoding")
    _scan(text)
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except json.JSONDecodeError as fault:
        raise _refused(text, fault.pos, fault.msg) from None
