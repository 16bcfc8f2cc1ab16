"""What checks of a job's fields among themselves are written with."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from app.core.errors import FaultAt, Invalid

Path = tuple[str, ...]


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


def inconsistent(path: Path, message: str) -> FaultAt:
    """A field that another one contradicts."""
    return FaultAt("inconsistent_parameters", message, f"/{'/'.join(path)}")


def length_faults(generation: Mapping[str, Any]) -> Iterator[FaultAt]:
    """Yield what is wrong with the lengths of sampling, in tokens."""
    if generation["max_new_tokens"] >= generation["max_length"]:
        yield inconsistent(
            ("generation", "max_new_tokens"),
            "'generation.max_new_tokens' leaves no room for a prompt in 'generation.max_length', "
            "which counts prompt and response together.",
        )


def require_none(faults: Sequence[FaultAt]) -> None:
    """Raise `Invalid` with every fault, if there are any."""
    if faults:
        raise refusal(faults)


def refusal(faults: Sequence[FaultAt]) -> Invalid:
    """The error that carries these faults; its code is theirs if all have one."""
    codes = {fault.code for fault in faults}
    more = f" ({len(faults) - 1} more in `errors`)" if len(faults) > 1 else ""
    detail = f"{faults[0].pointer}: {faults[0].message}{more}"
    return Invalid(detail, code=codes.pop() if len(codes) == 1 else "", faults=tuple(faults))
