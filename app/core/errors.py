"""The errors that callers may meet, as categories; only `app.api` knows their HTTP statuses.

AlignError
├── NotFound
├── Conflict
├── Invalid          (carries every fault found, each with its place)
├── TooLarge
├── Unsupported
├── Unavailable
├── BudgetReached    (worker only: what comes next could exceed a cap)
└── Fenced           (worker only: another owner has the job)
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True)
class FaultAt:
    """One fault: where it is (a JSON pointer or a line), a stable code, and how to mend it."""

    code: str
    message: str
    pointer: str | None = None
    line: int | None = None


@dataclass
class AlignError(Exception):
    """A failure with a stable `code`; `detail` says what is wrong and how to mend it."""

    detail: str
    code: str = ""
    faults: tuple[FaultAt, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    default_code: ClassVar[str] = "error"

    def __post_init__(self) -> None:
        """Fill in the category's code and keep the exception picklable."""
        self.code = self.code or self.default_code
        self.args = (self.detail, self.code, self.faults, self.facts)

    def __str__(self) -> str:
        """Return the detail."""
        return self.detail


class NotFound(AlignError):
    """No such thing, or not the caller's."""

    default_code = "not_found"


class Conflict(AlignError):
    """The thing is in a state that does not allow this."""

    default_code = "conflict"


class Invalid(AlignError):
    """What was asked cannot be done as asked."""

    default_code = "invalid"


class TooLarge(AlignError):
    """More bytes than the limit."""

    default_code = "body_too_large"


class Unsupported(AlignError):
    """A content type or encoding that is not read."""

    default_code = "unsupported_media_type"


class Unavailable(AlignError):
    """Something the service stands on does not answer now."""

    default_code = "unavailable"


class BudgetReached(AlignError):
    """What comes next could take more than a cap leaves.

    The fact `passing` says whether it would fit if what is reserved now took nothing in the end.
    """

    default_code = "budget_reached"


class Fenced(AlignError):
    """The lease is another owner's now; nothing more may be written."""

    default_code = "fenced"
