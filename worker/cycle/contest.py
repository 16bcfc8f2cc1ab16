"""What an evaluation has stored so far, so that it goes on where it was."""

from dataclasses import dataclass, field

from worker.cycle.types import At, Dialogue, Question

ANSWER = "answer"
"""The stage of answers; `iteration` is the contestant's place."""
GIVEN = "given"
"""The stage of given responses that a contestant values."""


AGAIN = "again"
"""The stage of another run's questions, asked once more as they were."""
REVERSED = "reversed"
"""The stage of the same questions with the responses in reverse."""
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
class AskedTurn:
    """A question that another run's judge has answered with a ranking."""

    step: int
    iteration: int
    presented: tuple[int, ...]
    """Indices of that run's samples, in the order of the question."""
    question: Question


@dataclass(frozen=True)
class Stored:
    """What earlier attempts have stored."""

    answers: dict[At, tuple[str, ...]] = field(default_factory=dict)
    rated: frozenset[tuple[At, str]] = frozenset()
    """Places of answers with the scorer's name."""
    compared: frozenset[At] = frozenset()
    asked_again: frozenset[At] = frozenset()
