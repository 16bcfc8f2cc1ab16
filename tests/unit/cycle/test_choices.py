"""Choosing by letter: every response stands in every place, so a habit for a place is nothing."""

import math
from collections.abc import Sequence

import pytest

from worker.cycle.choices import by_letters, letters, question
from worker.cycle.types import Dialogue, Message

ASKED = (Message("user", "Is the earth flat?"),)


class Chooser:
    """Finds one response better by a log-odds of one, and likes the first letter by `bias`."""

    def __init__(self, best: str, bias: float) -> None:
        self.best, self.bias = best, bias
        self.asked: list[str] = []

    def __call__(self, messages: Dialogue, answers: Sequence[str]) -> list[float]:
        text = messages[-1].content
        self.asked.append(text)
        at = next(name for name in answers if f"{name}. {self.best}" in text)
        worths = [(name == at) + self.bias * (name == answers[0]) for name in answers]
        total = math.log(sum(map(math.exp, worths)))
        return [worth - total for worth in worths]


@pytest.mark.parametrize("bias", [-5.0, 0.0, 5.0])
@pytest.mark.parametrize("best", ["No.", "Yes.", "Maybe."])
def test_a_habit_for_the_first_letter_changes_no_choice(best: str, bias: float) -> None:
    responses = ["No.", "Yes.", "Maybe."]
    found = by_letters(ASKED, responses, Chooser(best, bias))
    assert responses[found.index(max(found))] == best


def test_of_two_both_orders_are_asked() -> None:
    chooser = Chooser("No.", 0.0)
    found = by_letters(ASKED, ["No.", "Yes."], chooser)
    first, second = chooser.asked
    assert "A. No.\n\nB. Yes." in first
    assert "A. Yes.\n\nB. No." in second
    odds = 1 / (1 + math.exp(-1))
    assert found == pytest.approx([math.log(odds), math.log(1 - odds)])


def test_the_question_holds_the_whole_dialogue() -> None:
    talk = (Message("user", "Hi"), Message("assistant", "Hello"), *ASKED)
    [turn] = question(talk, ["No.", "Yes."])
    assert "Human: Hi\n\nAssistant: Hello\n\nHuman: Is the earth flat?" in turn.content
    assert turn.content.endswith("Answer with its letter alone: A or B.")


def test_beyond_the_alphabet_choices_are_numbered() -> None:
    assert letters(3) == ["A", "B", "C"]
    assert letters(27)[-1] == "27"
