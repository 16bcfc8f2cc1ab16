"""What reading data gives: rows as they will be used, and everything that is wrong with a line."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

Kind = Literal["prompts", "demonstrations", "preferences", "dialogues"]
Severity = Literal["error", "warning"]
Messages = list[dict[str, str]]
"""Turns as `{"role", "content"}`; the last one of a row is the user's."""
Groups = list[list[int]]
"""Positions of responses, best to worst; a group of several is a tie."""

EXCERPT_LETTERS = 120
MAX_FAULTS = 20
"""Faults named a line; a hostile line could have a hundred thousand."""


@dataclass(frozen=True, slots=True)
class Row:
    """One usable row and the line it came from."""

    line: int
    messages: Messages
    row_id: str | None = None
    subset: str | None = None
    split: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    responses: list[str] | None = None
    ranking: Groups | None = None
    scores: list[float] | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a line; an `error` loses the row, a `warning` keeps it.

    `excerpt` is the only place where the user's own data is shown back.
    """

    line: int
    code: str
    message: str
    pointer: str | None = None
    severity: Severity = "error"
    excerpt: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What became of one line: a row unless a fault is an error."""

    line: int
    row: Row | None
    faults: tuple[Fault, ...] = ()

    def lost(self, fault: Fault) -> "Reading":
        """Return this reading without its row, for a fault that shows only beside other lines."""
        return replace(self, row=None, faults=(*self.faults, fault))

    def warned(self, fault: Fault) -> "Reading":
        """Return this reading with one more warning."""
        return replace(self, faults=(*self.faults, fault))


@dataclass(slots=True)
class Notes:
    """Collects the faults of one line while it is read."""

    line: int
    text: str
    faults: list[Fault] = field(default_factory=list)

    def error(self, code: str, message: str, pointer: str | None = None) -> None:
        """Note a fault that loses the row."""
        self._note(code, message, pointer, "error")

    def warn(self, code: str, message: str, pointer: str | None = None) -> None:
        """Note a fault that keeps the row."""
        self._note(code, message, pointer, "warning")

    @property
    def full(self) -> bool:
        """Whether no more faults are taken."""
        return len(self.faults) >= MAX_FAULTS

    @property
    def lost(self) -> bool:
        """Whether the row is lost."""
        return any(fault.severity == "error" for fault in self.faults)

    def reading(self, row: Row | None) -> Reading:
        """Close the line."""
        return Reading(self.line, None if self.lost else row, tuple(self.faults))

    def _note(self, code: str, message: str, pointer: str | None, severity: Severity) -> None:
        if self.full:
            return
        shown = excerpt(self.text)
        self.faults.append(Fault(self.line, code, message, pointer, severity, shown))


def excerpt(text: str) -> str:
    """Return the first letters of a line, with nothing that a terminal or PostgreSQL minds."""
    head = text[: EXCERPT_LETTERS + 1]
    clean = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in head
    )
    if len(clean) <= EXCERPT_LETTERS:
        return clean
    return clean[: EXCERPT_LETTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"
