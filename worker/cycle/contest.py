"""What an evaluation has stored so far, so that it goes on where it was."""

from dataclasses import dataclass, field

from worker.cycle.types import At

ANSWER = "answer"
"""The stage of answers; `iteration` is the contestant's place."""
GIVEN = "given"
"""The stage of given responses that a contestant values."""


@dataclass(frozen=True)
class Stored:
    """What earlier attempts have stored."""

    answers: dict[At, tuple[str, ...]] = field(default_factory=dict)
    rated: frozenset[tuple[At, str]] = frozenset()
    """Places of answers with the scorer's name."""
    compared: frozenset[At] = frozenset()
