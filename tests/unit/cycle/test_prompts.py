"""The ranking prompt and the strict reading of what comes back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cycle.demonstration import BUILT_IN
from worker.cycle.prompts import parse_reply, ranking_messages, ranking_schema, reask_messages
from worker.cycle.types import Fault, Malformed, Message, Question, Ranked

QUESTION = Question(
    messages=(Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Bye?")),
    responses=("See you.", 'Say "no".\n```', "Nein, größer!"),
    demonstrations=(BUILT_IN,),
)
WITH_RESPONSE = Question(QUESTION.messages, QUESTION.responses, (BUILT_IN,), wants_response=True)


def task_of(message: Message) -> dict[str, object]:
    task: dict[str, object] = json.loads(message.content.rpartition("\n\n")[0])
    return task


def parse(
    raw: str, n: int = 3, *, response: bool = False, ties: bool = False
) -> Ranked | Malformed:
    return parse_reply(raw, n, wants_response=response, allow_ties=ties)


def test_the_item_is_the_last_turn_and_holds_everything_as_json() -> None:
    last = ranking_messages(QUESTION, allow_ties=False)[-1]
    assert last.role == "user"
    assert task_of(last) == {
        "dialogue": [{"role": m.role, "content": m.content} for m in QUESTION.messages],
        "candidates": [{"id": k, "response": r} for k, r in enumerate(QUESTION.responses)],
    }


def test_a_demonstration_has_the_layout_of_the_item_and_a_reply_that_parses() -> None:
    _, shown, answer, item = ranking_messages(QUESTION, allow_ties=False)
    assert task_of(shown).keys() == task_of(item).keys()
    assert (shown.role, answer.role) == ("user", "assistant")
    assert parse(answer.content, 4) == Ranked(BUILT_IN.answer, raw=answer.content)


def test_instruction_and_static_demonstrations_are_a_common_prefix() -> None:
    other = Question((Message("user", "Else"),), ("a", "b"), (BUILT_IN,), wants_response=True)
    one, two = (ranking_messages(q, allow_ties=False) for q in (QUESTION, other))
    assert one[:3] == two[:3]


def test_a_response_is_asked_for_only_where_it_is_wanted() -> None:
    *_, shown, _, item = ranking_messages(WITH_RESPONSE, allow_ties=False)
    assert '"response": "..."' in item.content
    assert '"response": "..."' not in shown.content
    assert '"response": "..."' not in ranking_messages(QUESTION, allow_ties=False)[-1].content


def test_ties_are_offered_only_where_they_are_allowed() -> None:
    assert "[[2], [0, 1]]" in ranking_messages(QUESTION, allow_ties=True)[-1].content
    assert "[[2], [0, 1]]" not in ranking_messages(QUESTION, allow_ties=False)[-1].content


def test_a_reask_shows_the_reply_and_names_its_fault() -> None:
    asked = ranking_messages(QUESTION, allow_ties=False)
    fault = Malformed(Fault.MISSING, "not ranked: 2")
    *before, reply, note = reask_messages(asked, '{"ranking": [0, 1]}', fault)
    assert tuple(before) == asked
    assert reply == Message("assistant", '{"ranking": [0, 1]}')
    assert note.role == "user"
    assert "missing_ids" in note.content
    assert "not ranked: 2" in note.content


def test_a_reask_after_a_blank_reply_keeps_turns_alternating() -> None:
    asked = ranking_messages(QUESTION, allow_ties=False)
    again = reask_messages(asked, " \n", Malformed(Fault.EMPTY, "the reply is empty"))
    assert [m.role for m in again] == [m.role for m in asked]
    assert again[-1].content.startswith(asked[-1].content)
    assert "empty" in again[-1].content


def test_the_schema_fixes_ids_length_and_keys() -> None:
    assert ranking_schema(WITH_RESPONSE, allow_ties=False) == {
        "type": "object",
        "properties": {
            "ranking": {
                "type": "array",
                "items": {"type": "integer", "enum": [0, 1, 2]},
                "minItems": 3,
                "maxItems": 3,
            },
            "response": {"type": "string"},
        },
        "required": ["ranking", "response"],
        "additionalProperties": False,
    }


def test_the_schema_with_ties_takes_groups_and_no_response() -> None:
    schema = ranking_schema(QUESTION, allow_ties=True)
    assert schema["required"] == ["ranking"]
    assert "anyOf" in json.dumps(schema)


def test_a_permutation_is_a_ranking() -> None:
    raw = '{"ranking": [2, 0, 1]}'
    assert parse(raw) == Ranked(((2,), (0,), (1,)), raw=raw)


@pytest.mark.parametrize(
    "fence", ["```json\n{}\n```", "```\n{}\n```", " \n```JSON \r\n{}\r\n```\n"]
)
def test_a_fence_around_the_object_is_accepted(fence: str) -> None:
    raw = fence.replace("{}", '{"ranking": [1, 0]}')
    assert parse(raw, 2) == Ranked(((1,), (0,)), raw=raw)


def test_nested_lists_are_ties_where_ties_are_allowed() -> None:
    raw = '{"ranking": [[2], [1, 0]]}'
    assert parse(raw, ties=True) == Ranked(((2,), (0, 1)), raw=raw)
    assert parse('{"ranking": [[0, 1, 2]]}', ties=True) == Ranked(
        ((0, 1, 2),), raw='{"ranking": [[0, 1, 2]]}'
    )


def test_the_teacher_response_is_read_where_it_is_wanted() -> None:
    raw = '{"ranking": [0, 1], "response": " Better. "}'
    assert parse(raw, 2, response=True) == Ranked(((0,), (1,)), teacher="Better.", raw=raw)
    assert parse(raw, 2) == Ranked(((0,), (1,)), raw=raw)


@pytest.mark.parametrize("end", ["}", ', "response": ""}', ', "response": null}'])
def test_a_ranking_without_the_wanted_response_still_counts(end: str) -> None:
    raw = '{"ranking": [0, 1]' + end
    assert parse(raw, 2, response=True) == Ranked(((0,), (1,)), raw=raw)


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        ("", Fault.EMPTY),
        (" \n\t", Fault.EMPTY),
        ("The best is 0.", Fault.NOT_JSON),
        ('Sure! {"ranking": [0, 1, 2]}', Fault.NOT_JSON),
        ('{"ranking": [0, 1, 2]} I hope this helps.', Fault.NOT_JSON),
        ('```json\n{"ranking": [0, 1, 2]}\n```\nDone.', Fault.NOT_JSON),
        ('{"ranking": [0, 1, 2]}{"ranking": [0, 1, 2]}', Fault.NOT_JSON),
        ('{"ranking": [0, 1, 2], "ranking": [2, 1, 0]}', Fault.NOT_JSON),
        ('{"ranking": [0, 1, 2', Fault.NOT_JSON),
        ('{"ranking": [0, 1, NaN]}', Fault.NOT_JSON),
        ("[0, 1, 2]", Fault.NOT_JSON),
        ("[" * 100_000, Fault.NOT_JSON),
        ("{}", Fault.NO_RANKING),
        ('{"ranking": []}', Fault.NO_RANKING),
        ('{"ranking": "0 > 1 > 2"}', Fault.NO_RANKING),
        ('{"ranking": {"0": 1}}', Fault.NO_RANKING),
        ('{"ranking": [[0, 1], 2]}', Fault.NO_RANKING),
        ('{"ranking": [0, 1]}', Fault.MISSING),
        ('{"ranking": [0, 1, 1]}', Fault.DUPLICATE),
        ('{"ranking": [0, 1, 2, 0]}', Fault.DUPLICATE),
        ('{"ranking": [1, 2, 3]}', Fault.FOREIGN),
        ('{"ranking": [0, 1, -1]}', Fault.FOREIGN),
        ('{"ranking": ["0", "1", "2"]}', Fault.FOREIGN),
        ('{"ranking": [0.0, 1, 2]}', Fault.FOREIGN),
        ('{"ranking": [false, true, 2]}', Fault.FOREIGN),
        ('{"ranking": [null, 1, 2]}', Fault.FOREIGN),
        ('{"ranking": [{"id": 0}, 1, 2]}', Fault.FOREIGN),
    ],
)
def test_every_other_reply_is_a_named_fault(raw: str, fault: Fault) -> None:
    reply = parse(raw)
    assert isinstance(reply, Malformed)
    assert reply.fault is fault
    assert reply.raw == raw
    assert reply.detail


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        ('{"ranking": [[0, 1], []]}', Fault.NO_RANKING),
        ('{"ranking": [[0, 1], [1, 2]]}', Fault.DUPLICATE),
        ('{"ranking": [[0, [1]], 2]}', Fault.FOREIGN),
        ('{"ranking": [[0], [1]]}', Fault.MISSING),
    ],
)
def test_tied_replies_are_held_to_the_same_rules(raw: str, fault: Fault) -> None:
    reply = parse(raw, ties=True)
    assert isinstance(reply, Malformed)
    assert reply.fault is fault


def test_a_response_that_is_no_text_is_a_fault() -> None:
    reply = parse('{"ranking": [0, 1], "response": {"text": "x"}}', 2, response=True)
    assert isinstance(reply, Malformed)
    assert "response" in reply.detail


def test_a_huge_foreign_reply_gives_a_short_detail() -> None:
    reply = parse(json.dumps({"ranking": ["x" * 100_000]}))
    assert isinstance(reply, Malformed)
    assert len(reply.detail) < 400


@given(st.text() | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["ranking", "x"]), inner),
).map(json.dumps))  # fmt: skip
def test_any_reply_is_either_a_ranking_of_all_ids_or_a_fault(raw: str) -> None:
    reply = parse(raw, 2, response=True, ties=True)
    assert isinstance(reply, Malformed) or sorted(sum(reply.ranking, ())) == [0, 1]


@given(st.permutations(range(5)))
def test_every_permutation_is_read_as_written(order: list[int]) -> None:
    reply = parse(json.dumps({"ranking": order}), 5)
    assert isinstance(reply, Ranked)
    assert reply.ranking == tuple((item,) for item in order)
