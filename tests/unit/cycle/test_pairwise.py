"""The prompt of a comparison, and the strict reading of its reply."""

import json

import pytest

from worker.cycle.pairwise import pairwise_messages, pairwise_schema, parse_pairwise
from worker.cycle.strategies import answer_alone, thinking_first, with_examples
from worker.cycle.types import Fault, Malformed, Message, Question, Ranked

COMPARE = Question((Message("user", "Is rain wet?"),), ("Yes.", "No."), form="compare")
RATE = Question(COMPARE.messages, COMPARE.responses, form="rate")


def test_both_answers_stand_in_the_order_in_which_they_are_shown() -> None:
    asked = pairwise_messages(COMPARE)[-1].content
    task = json.loads(asked[: asked.rindex("}\n\n") + 1])
    assert (task["first"], task["second"]) == ("Yes.", "No.")
    assert asked.index("reasoning") < asked.index("verdict")


@pytest.mark.parametrize(
    ("verdict", "ranking"),
    [("first", ((0,), (1,))), ("second", ((1,), (0,))), ("tie", ((0, 1),))],
)
def test_a_verdict_is_a_ranking(verdict: str, ranking: object) -> None:
    read = parse_pairwise(json.dumps({"reasoning": "so", "verdict": verdict}), COMPARE)
    assert isinstance(read, Ranked)
    assert read.ranking == ranking
    assert read.why == {"reasoning": "so"}


@pytest.mark.parametrize(
    ("scores", "ranking"), [([7, 3.5], ((0,), (1,))), ([1, 10], ((1,), (0,))), ([5, 5], ((0, 1),))]
)
def test_scores_are_a_ranking(scores: list[float], ranking: object) -> None:
    read = parse_pairwise(json.dumps({"reasoning": "so", "scores": scores}), RATE)
    assert isinstance(read, Ranked)
    assert read.ranking == ranking
    assert read.scores == tuple(score / 10 for score in scores)


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ("", Fault.EMPTY),
        ("The first is better.", Fault.NOT_JSON),
        ("[]", Fault.NOT_JSON),
        ('{"reasoning": "so"}', Fault.NO_VERDICT),
        ('{"verdict": "A"}', Fault.NO_VERDICT),
        ('{"verdict": ["first"]}', Fault.NO_VERDICT),
    ],
)
def test_what_is_no_verdict_is_none(reply: str, fault: Fault) -> None:
    read = parse_pairwise(reply, COMPARE)
    assert isinstance(read, Malformed)
    assert read.fault is fault
    assert read.raw == reply


@pytest.mark.parametrize("scores", [None, [7], [7, 11], [0, 5], [7, True], ["7", 5], [1, 2, 3]])
def test_what_are_no_scores_are_none(scores: object) -> None:
    read = parse_pairwise(json.dumps({"scores": scores}), RATE)
    assert isinstance(read, Malformed)
    assert read.fault is Fault.NO_VERDICT


def test_the_schema_asks_for_the_reasons_first() -> None:
    for question in (COMPARE, RATE):
        schema = pairwise_schema(question)
        assert next(iter(schema["properties"])) == "reasoning"  # type: ignore[call-overload]  # a dict
        assert schema["required"] == list(schema["properties"])  # type: ignore[call-overload]


def test_examples_stand_between_the_system_message_and_the_prompt() -> None:
    system, user = Message("system", "Be kind."), Message("user", "Hi")
    example = (Message("user", "Q"), Message("assistant", "A"))
    assert with_examples((system, user), [example]) == (system, *example, user)
    assert with_examples((user,), []) == (user,)


def test_the_answer_is_what_stands_after_the_thought() -> None:
    assert "Answer:" in thinking_first(COMPARE.messages)[-1].content
    assert answer_alone("Let me see.\nAnswer:\nYes, it is.") == "Yes, it is."
    assert answer_alone("answer: one\nANSWER: two") == "two"
    assert answer_alone(" Yes. ") == "Yes."
    assert answer_alone("Hm.\nAnswer:") == "Hm.\nAnswer:"
