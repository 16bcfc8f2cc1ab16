"""What an evaluation has stored so far, so that it goes on where it was."""

from dataclasses import dataclass, field

from worker.cycle.types import At, Dialogue

ANSWER = "answer"
"""The stage of answers; `iteration` is the contestant's place."""
GIVEN = "given"
"""The stage of given responses that a contestant values."""


JUDGED = "judged"
"""The stage of another run's responses; `step` and `iteration` are that run's."""


@dataclass(frozen=True)
class JudgedTurn:
    """Responses that another run's judge has ranked."""

    step: int
    iteration: int
    messages: Dialogue
    responses: tuple[str, ...]


@dataclass(frozen=True)
class Stored:
    """What earlier attempts have stored."""

    answers: dict[At, tuple[str, ...]] = field(default_factory=dict)
    rated: frozenset[tuple[At, str]] = frozenset()
    """Places of answers with the scorer's name."""
    compared: frozenset[At] = frozenset()
