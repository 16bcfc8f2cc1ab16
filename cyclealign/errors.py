"""What can go wrong between a client and the service.

ClientError
├── ApiError       (the service answered with a problem)
├── Unreachable    (no answer)
├── Corrupt        (bytes that are not what the manifest says)
├── BadPlan        (a plan that cannot be carried out as it stands)
├── BadOverride    (a new value on the command line that cannot be read)
└── NotStarted     (the standalone stack ended before it was ready)
"""

from dataclasses import dataclass, field
from typing import Any


class ClientError(Exception):
    """Any failure of a call; its text is a sentence for a person."""


@dataclass
class ApiError(ClientError):
    """A problem document (RFC 9457) as the service sent it.

    `errors` are the single faults, each with `code` and `message` and a `pointer` or a `line`.
    """

    status: int
    code: str
    detail: str
    errors: list[dict[str, Any]] = field(default_factory=list)
    request_id: str | None = None

    def __str__(self) -> str:
        """Return the detail, each fault on its own line, and the request's id."""
        lines = [f"{self.detail} ({self.status} {self.code})"]
        lines += [f"  {_place(fault)}{fault.get('message', '')}" for fault in self.errors]
        if self.request_id:
            lines.append(f"  request {self.request_id}")
        return "\n".join(lines)


class Unreachable(ClientError):
    """Nothing answers at the base URL, or the connection broke."""


class Corrupt(ClientError):
    """A downloaded file does not have the bytes that its manifest promises."""


class BadPlan(ClientError):
    """A plan's file, its datasets or its names do not fit together."""


class BadOverride(ClientError):
    """A `--set` that is no field with a value, or that contradicts another one."""


class NotStarted(ClientError):
    """The standalone stack ended before it was ready."""


def _place(fault: dict[str, Any]) -> str:
    if fault.get("line") is not None:
        return f"line {fault['line']}: "
    return f"{fault['pointer']}: " if fault.get("pointer") else ""
