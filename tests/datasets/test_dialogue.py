"""Dialogues in HH-RLHF's text, worked by hand."""

from hypothesis import given
from hypothesis import strategies as st

from app.services.formats.dialogue import (
    TAG,
    Pair,
    Rejected,
    Spoken,
    pair_of,
    parse_context,
    parse_dialogue,
)

TAGS = {"user": "Human", "assistant": "Assistant"}


def turns(*texts: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[place % 2], "content": content} for place, content in enumerate(texts)]


def render(spoken: list[dict[str, str]]) -> str:
    return "".join(f"\n\n{TAGS[turn['role']]}: {turn['content']}" for turn in spoken)


def pair(chosen: str, rejected: str) -> Pair | Rejected:
    better, worse = parse_dialogue(chosen), parse_dialogue(rejected, "rejected")
    assert isinstance(better, Spoken)
    assert isinstance(worse, Spoken)
    return pair_of(better, worse)


def test_a_reply_of_several_paragraphs_is_kept_whole() -> None:
    text = "\n\nHuman: A recipe?\n\nAssistant: Sure.\n\n1. Eggs\n2. Milk\n\nEnjoy!"
    assert parse_dialogue(text) == Spoken(
        turns("A recipe?", "Sure.\n\n1. Eggs\n2. Milk\n\nEnjoy!"), joined=False
    )


def test_a_role_word_inside_a_line_or_after_a_single_newline_is_text() -> None:
    text = "\n\nHuman: Say 'Human: hi'.\nAssistant: is a tag\n\nAssistant: Human: hi"
    assert parse_dialogue(text) == Spoken(
        turns("Say 'Human: hi'.\nAssistant: is a tag", "Human: hi"), joined=False
    )


def test_neighbouring_turns_of_one_speaker_are_joined_by_a_blank_line() -> None:
    text = "\n\nHuman: one\n\nHuman: two\n\nAssistant: three\n\nAssistant: four"
    assert parse_dialogue(text) == Spoken(turns("one\n\ntwo", "three\n\nfour"), joined=True)


def test_an_empty_reply_is_a_turn_without_text() -> None:
    assert parse_dialogue("\n\nHuman: hi\n\nAssistant: ") == Spoken(turns("hi", ""), joined=False)


def test_the_context_ends_before_the_last_reply_even_if_that_is_empty() -> None:
    text = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
    assert parse_context(text) == Spoken(turns("a", "b", "c"), joined=False)


def test_text_before_the_first_tag_makes_it_no_dialogue() -> None:
    found = parse_dialogue("Once upon a time\n\nHuman: hi\n\nAssistant: yo")
    assert isinstance(found, Rejected)
    assert found.code == "not_a_dialogue"


def test_a_dialogue_that_the_assistant_opens_is_rejected() -> None:
    found = parse_dialogue("\n\nAssistant: hello\n\nHuman: hi", "rejected")
    assert isinstance(found, Rejected)
    assert (found.code, found.field) == ("user_not_first", "rejected")


def test_a_pair_has_one_context_and_two_replies() -> None:
    found = pair("\n\nHuman: q\n\nAssistant: good", "\n\nHuman: q\n\nAssistant: bad")
    assert found == Pair(turns("q"), "good", "bad", joined=False)


def test_a_pair_that_ends_with_the_human_is_rejected() -> None:
    found = pair("\n\nHuman: q\n\nAssistant: a\n\nHuman: r", "\n\nHuman: q\n\nAssistant: b")
    assert isinstance(found, Rejected)
    assert (found.code, found.field) == ("assistant_not_last", "chosen")


def test_a_pair_of_different_lengths_is_rejected() -> None:
    longer = "\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: b"
    found = pair(longer, "\n\nHuman: q\n\nAssistant: a")
    assert isinstance(found, Rejected)
    assert found.code == "turn_counts_differ"


def test_a_pair_with_different_questions_is_rejected() -> None:
    found = pair("\n\nHuman: q\n\nAssistant: a", "\n\nHuman: other\n\nAssistant: b")
    assert isinstance(found, Rejected)
    assert found.code == "contexts_differ"


contents = (
    st.text(
        alphabet=st.one_of(st.sampled_from("\n :HumanAsit"), st.characters(codec="utf-8")),
        min_size=1,
        max_size=60,
    )
    .map(str.strip)
    .filter(lambda text: text and not TAG.search("x" + text))
)


@given(st.lists(contents, min_size=1, max_size=6))
def test_any_dialogue_that_is_rendered_parses_back(texts: list[str]) -> None:
    assert parse_dialogue(render(turns(*texts))) == Spoken(turns(*texts), joined=False)
