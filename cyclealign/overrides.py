"""New values for fields of a job, as they are written on the command line."""

import json
from collections.abc import Sequence
from typing import Any

from cyclealign.errors import BadOverride

Json = dict[str, Any]


def read_overrides(given: Sequence[str]) -> Json:
    """Read `/optimizer/lr=1e-4` and its like into nested objects; raises `BadOverride`.

    A value that is no JSON is text, so that names need no quotes.
    """
    overrides: Json = {}
    for one in given:
        pointer, sign, value = one.partition("=")
        root, *path = pointer.split("/")
        if root or not sign or not path or not all(path):
            raise BadOverride(f"--set wants /field=value, such as /optimizer/lr=1e-4, not {one!r}.")
        _put(overrides, path, _value(value))
    return overrides


def _put(overrides: Json, path: Sequence[str], value: Any) -> None:
    *outer, last = path
    place = overrides
    for name in outer:
        place = place.setdefault(name, {})
        if not isinstance(place, dict):
            raise BadOverride(f"/{'/'.join(path)} lies in a field that has a value by --set.")
    place[last] = value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
