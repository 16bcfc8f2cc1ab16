"""Every accepted shape of a record, and every way of being none."""

import json
from typing import Any

import pytest

from app.services.formats.lines import Line
from app.services.formats.records import read_record, read_text
from app.services.formats.rows import Kind, Reading, Row

USER = {"role": "user", "content": "hi"}
ASSISTANT = {"role": "assistant", "content": "yo"}
SYSTEM = {"role": "system", "content": "be kind"}
HH = {"chosen": "\n\nHuman: hi\n\nAssistant: yo", "rejected": "\n\nHuman: hi\n\nAssistant: no"}


def read(record: Any, kind: Kind = "prompts") -> Reading:
    text = record if isinstance(record, str) else json.dumps(record)
    return read_record(Line(7, text), kind)


def row(record: Any, kind: Kind = "prompts") -> Row:
    reading = read(record, kind)
    assert reading.row is not None, reading.faults
    return reading.row


def faults(record: Any, kind: Kind = "prompts") -> list[tuple[str, str | None]]:
    """Return (code, pointer) of the errors of a lost row."""
    reading = read(record, kind)
    assert reading.row is None
    assert {fault.line for fault in reading.faults} == {7}
    return [(found.code, found.pointer) for found in reading.faults if found.severity == "error"]


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": " hi\n"},
        {"prompt": [USER]},
        {"messages": [USER]},
        {"prompt": "\n\nHuman: hi\n\nAssistant:"},
        {"prompt": "hi", "chosen": "yo", "rejected": ""},
        {"prompt": "hi", "responses": [], "ranking": "none"},
        {"chosen": "\n\nHuman: hi\n\nAssistant: ", "rejected": 5},
        {"chosen": [USER, ASSISTANT], "rejected": [USER]},
    ],
    ids=json.dumps,
)
def test_a_prompt_is_read_from_every_shape_and_replies_are_not_looked_at(record: Any) -> None:
    assert row(record) == Row(7, [USER])


@pytest.mark.parametrize("kind", ["demonstrations", "preferences"])
@pytest.mark.parametrize(
    "record",
    [
        HH,
        {"chosen": [USER, ASSISTANT], "rejected": [USER, {**ASSISTANT, "content": "no"}]},
        {"prompt": "hi", "chosen": " yo ", "rejected": "no"},
        {"prompt": [USER], "chosen": [ASSISTANT], "rejected": "no"},
        {"messages": [USER], "chosen": [USER, ASSISTANT], "rejected": "no"},
        {"prompt": "hi", "responses": ["yo", "no"], "ranking": [0, 1]},
    ],
    ids=json.dumps,
)
def test_a_pair_is_read_from_every_shape(record: Any, kind: Kind) -> None:
    assert row(record, kind) == Row(7, [USER], responses=["yo", "no"], ranking=[[0], [1]])


def test_a_ranking_may_tie_and_scores_become_a_ranking() -> None:
    three = {"prompt": "hi", "responses": ["a", "b", "c"]}
    assert row({**three, "ranking": [2, [1, 0]]}, "demonstrations").ranking == [[2], [0, 1]]
    scored = row({**three, "scores": [0.5, 2, 0.5]}, "preferences")
    assert (scored.ranking, scored.scores) == ([[1], [0, 2]], [0.5, 2.0, 0.5])


def test_id_subset_split_and_metadata_are_kept() -> None:
    kept = row({"prompt": "hi", "id": 12, "subset": "a", "split": "test", "metadata": {"k": [1]}})
    assert kept == Row(7, [USER], "12", "a", "test", {"k": [1]})


def test_a_system_message_may_open_and_neighbouring_turns_are_joined() -> None:
    reading = read({"messages": [SYSTEM, USER, USER]})
    assert reading.row == Row(7, [SYSTEM, {"role": "user", "content": "hi\n\nhi"}])
    assert [(fault.code, fault.severity) for fault in reading.faults] == [
        ("turns_joined", "warning")
    ]


def test_a_trailing_reply_in_a_list_of_messages_is_cut_with_a_warning() -> None:
    reading = read({"messages": [USER, ASSISTANT]})
    assert reading.row == Row(7, [USER])
    assert [(fault.code, fault.severity) for fault in reading.faults] == [
        ("trailing_reply_cut", "warning")
    ]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ('{"prompt": "hi"', ("malformed_json", None)),
        ('["hi"]', ("object_expected", None)),
        ('{"prompt": "a", "prompt": "b"}', ("duplicate_key", None)),
        ('{"prompt": "a", "metadata": {"x": NaN}}', ("finite_number_required", None)),
        ('{"prompt": "a", "metadata": {"x": 1e999}}', ("finite_number_required", "/metadata/x")),
        ('{"prompt": "a", "id": ' + "9" * 5000 + "}", ("number_too_long", None)),
        ('{"prompt": ' + "[" * 500 + "]" * 500 + "}", ("too_deep", "/prompt" + "/0" * 31)),
        ('{"prompt": ' + "[" * 100_000, ("too_deep", None)),
        ('{"prompt": "a\\u0000b"}', ("forbidden_character", "/prompt")),
        ('{"prompt": "a\\ud800b"}', ("invalid_unicode", "/prompt")),
        ('{"prompt": "a", "metadata": {"\\udfff": 1}}', ("invalid_unicode", "/metadata")),
        ({}, ("missing", "/prompt")),
        ({"prompt": " \n\t"}, ("empty_prompt", None)),
        ({"prompt": 5}, ("type_error", "/prompt")),
        ({"prompt": None}, ("type_error", "/prompt")),
        ({"prompt": "x" * 100_001}, ("prompt_too_long", None)),
        ({"prompt": "hi", "messages": [USER]}, ("ambiguous_prompt", "/messages")),
        ({"prompt": "hi", "chosne": "yo"}, ("unknown_field", "/chosne")),
        ({"prompt": "hi", "id": True}, ("type_error", "/id")),
        ({"prompt": "hi", "id": ""}, ("invalid_length", "/id")),
        ({"prompt": "hi", "subset": 1}, ("type_error", "/subset")),
        ({"prompt": "hi", "metadata": "x"}, ("type_error", "/metadata")),
        ({"messages": []}, ("empty_messages", "/messages")),
        ({"messages": "hi"}, ("type_error", "/messages")),
        ({"messages": ["hi"]}, ("type_error", "/messages/0")),
        (
            {"messages": [USER, {"role": "tool", "content": "x"}]},
            ("unknown_role", "/messages/1/role"),
        ),
        ({"messages": [{"role": "user", "content": [1]}]}, ("type_error", "/messages/0/content")),
        ({"messages": [{**USER, "name": "x"}]}, ("unknown_field", "/messages/0/name")),
        ({"messages": [ASSISTANT, USER]}, ("user_not_first", "/messages")),
        ({"messages": [USER, ASSISTANT, SYSTEM]}, ("misplaced_system", "/messages")),
        ({"messages": [SYSTEM]}, ("no_user_turn", None)),
        ({"chosen": "no tags here"}, ("not_a_dialogue", "/chosen")),
        ({"chosen": "\n\nHuman: \n\nAssistant: yo"}, ("empty_prompt", None)),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_prompt_that_is_none_names_its_fault(record: Any, expected: tuple[str, str]) -> None:
    assert faults(record) == [expected]


TWO = {"prompt": "hi", "responses": ["a", "b"]}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"prompt": "hi"}, ("missing", "/responses")),
        ({"prompt": "hi", "chosen": "yo"}, ("missing", "/rejected")),
        ({"chosen": HH["chosen"]}, ("missing", "/rejected")),
        ({**HH, "rejected": "\n\nHuman: ho\n\nAssistant: no"}, ("contexts_differ", "/rejected")),
        ({**HH, "rejected": "\n\nHuman: hi\n\nAssistant: "}, ("empty_reply", "/rejected")),
        ({**HH, "rejected": HH["chosen"]}, ("equal_replies", "/rejected")),
        ({"prompt": "hi", "chosen": 1, "rejected": "no"}, ("type_error", "/chosen")),
        ({"prompt": "hi", "chosen": [USER], "rejected": "no"}, ("assistant_not_last", "/chosen")),
        (
            {"prompt": "ho", "chosen": [USER, ASSISTANT], "rejected": "no"},
            ("contexts_differ", "/chosen"),
        ),
        (TWO, ("order_required", "/ranking")),
        ({**TWO, "ranking": [0, 1], "scores": [1, 2]}, ("order_required", "/ranking")),
        ({**TWO, "ranking": 5}, ("type_error", "/ranking")),
        ({**TWO, "ranking": ["0", "1"]}, ("type_error", "/ranking")),
        ({**TWO, "ranking": [True, False]}, ("type_error", "/ranking")),
        ({**TWO, "ranking": [0]}, ("invalid_ranking", "/ranking")),
        ({**TWO, "ranking": [0, 1, []]}, ("invalid_ranking", "/ranking")),
        ({**TWO, "ranking": [1, 2]}, ("invalid_ranking", "/ranking")),
        ({**TWO, "ranking": [[0, 1]]}, ("no_order", "/ranking")),
        ({**TWO, "scores": ["1", "2"]}, ("type_error", "/scores")),
        ({**TWO, "scores": [True, 1]}, ("type_error", "/scores")),
        ({**TWO, "scores": [1]}, ("invalid_length", "/scores")),
        ({**TWO, "responses": ["a"], "scores": [1]}, ("invalid_length", "/responses")),
        ({**TWO, "responses": ["a", 2], "scores": [1, 2]}, ("type_error", "/responses")),
        ({**TWO, "responses": ["a", " "], "scores": [1, 2]}, ("empty_reply", "/responses/1")),
        (
            {**TWO, "responses": ["a", "x" * 100_001], "scores": [1, 2]},
            ("reply_too_long", "/responses/1"),
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_replies_that_cannot_be_ordered_name_their_fault(
    record: Any, expected: tuple[str, str]
) -> None:
    assert faults(record, "preferences") == [expected]


def test_a_mistyped_field_is_answered_with_the_nearest_name() -> None:
    (fault, *_) = read({"promt": "hi"}).faults
    assert "did you mean 'prompt'?" in fault.message


def test_a_record_names_all_of_its_faults_but_no_flood_of_them() -> None:
    assert faults({"prompt": "hi", "id": [], "subset": 2}) == [
        ("type_error", "/id"),
        ("type_error", "/subset"),
    ]
    assert len(read({f"k{number}": 0 for number in range(10_000)}).faults) == 20


def test_an_excerpt_is_short_and_printable() -> None:
    (fault,) = read('{"prompt": "\x1b[31m' + "x" * 500).faults
    assert fault.excerpt is not None
    assert len(fault.excerpt) == 120
    assert fault.excerpt.isprintable()


def test_a_line_of_text_is_one_prompt() -> None:
    assert read_text(Line(3, "  What now?\t")).row == Row(
        3, [{"role": "user", "content": "What now?"}]
    )


BEAVER = {
    "prompt": "How do I pick a lock?",
    "response": "Call a locksmith.",
    "category": {"financial_crime,property_crime,theft": True, "violence": False},
    "is_safe": True,
}


def test_beavertails_records_are_prompts_and_safe_replies() -> None:
    prompt = row(BEAVER)
    assert prompt.messages == [{"role": "user", "content": "How do I pick a lock?"}]
    assert prompt.extra == {"is_safe": True, "harms": ["financial_crime,property_crime,theft"]}
    assert row(BEAVER, "dialogues").responses == ["Call a locksmith."]
    unsafe = BEAVER | {"is_safe": False}
    assert row(unsafe).messages == prompt.messages
    assert faults(unsafe, "dialogues") == [("unsafe_reply", "/is_safe")]


def test_a_field_of_beavertails_alone_is_unknown() -> None:
    assert faults({"prompt": "Hi", "is_safe": True}) == [("unknown_field", "/is_safe")]


DIALOGUE = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]


@pytest.mark.parametrize(
    "record",
    [
        {"messages": DIALOGUE},
        {"prompt": "Hi", "response": " Hello. "},
        {"messages": DIALOGUE[:1], "response": "Hello."},
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello."},
        {
            "chosen": "\n\nHuman: Hi\n\nAssistant: Hello.",
            "rejected": "\n\nHuman: Hi\n\nAssistant: No.",
        },
    ],
)
def test_a_dialogue_is_its_context_and_one_reply(record: Any) -> None:
    found = row(record, "dialogues")
    assert found.messages == [{"role": "user", "content": "Hi"}]
    assert found.responses == ["Hello."]
    assert found.ranking == [[0]]


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ({"prompt": "Hi"}, ("missing", "/messages")),
        ({"messages": DIALOGUE[:1]}, ("assistant_not_last", "/messages")),
        ({"prompt": "Hi", "response": "  "}, ("empty_reply", "/response")),
        ({"prompt": "Hi", "response": ["Hello."]}, ("type_error", "/response")),
        ({"response": "Hello."}, ("missing", "/messages")),
    ],
)
def test_a_dialogue_without_a_reply_is_refused(record: Any, fault: tuple[str, str]) -> None:
    assert fault in faults(record, "dialogues")
