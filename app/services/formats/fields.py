"""The fields that a JSON record may have, and the plain ones among them."""

import difflib
from typing import Any

from app.services.formats.rows import Notes
from app.services.formats.strict import child

KNOWN = (
    "prompt",
    "messages",
    "chosen",
    "rejected",
    "response",
    "responses",
    "ranking",
    "scores",
    "id",
    "subset",
    "split",
    "metadata",
)
BEAVERTAILS = ("category", "is_safe")
"""Fields of BeaverTails and PKU-SafeRLHF beside `prompt` and `response`; kept as metadata."""
LABEL_LETTERS = 200


def check_names(notes: Notes, record: dict[str, Any]) -> None:
    """Note every field that is not read; a mistyped name must not lose data in silence."""
    known = (*KNOWN, *BEAVERTAILS) if record.keys() >= set(BEAVERTAILS) else KNOWN
    for name in record:
        if name in known or notes.full:
            continue
        near = difflib.get_close_matches(name[:LABEL_LETTERS], KNOWN, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(KNOWN)}."
        message = f"An unknown field; {hint} Fields of your own go under 'metadata'."
        notes.error("unknown_field", message, child("", name))


def read_labels(notes: Notes, record: dict[str, Any]) -> dict[str, Any]:
    """Return `row_id`, `subset`, `split` and `extra` as `Row` takes them."""
    return {
        "row_id": _identity(notes, record.get("id")),
        "subset": _label(notes, record, "subset"),
        "split": _label(notes, record, "split"),
        "extra": _safety(record) | _metadata(notes, record.get("metadata")),
    }


def _identity(notes: Notes, value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _label(notes, {"id": value}, "id")


def _label(notes: Notes, record: dict[str, Any], name: str) -> str | None:
    value = record.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        notes.error("type_error", f"{name!r} should be a string.", child("", name))
        return None
    if not 0 < len(value.strip()) <= LABEL_LETTERS:
        message = f"{name!r} should have 1 to {LABEL_LETTERS} letters."
        notes.error("invalid_length", message, child("", name))
        return None
    return value.strip()


def _metadata(notes: Notes, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        notes.error("type_error", "'metadata' should be an object.", "/metadata")
        return {}
    return value


def _safety(record: dict[str, Any]) -> dict[str, Any]:
    """What BeaverTails says of a response: whether it is safe, and the harms that it does."""
    if not record.keys() >= set(BEAVERTAILS):
        return {}
    harms = record["category"] if isinstance(record["category"], dict) else {}
    return {
        "is_safe": record["is_safe"],
        "harms": sorted(name for name, does in harms.items() if does is True),
    }
