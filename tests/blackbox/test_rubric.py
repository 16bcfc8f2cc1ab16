"""The rubric's numbers, worked by hand."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.blackbox.rubric import RubricBox, points
from worker.cycle.ranking import is_ranking_of
from worker.cycle.types import Malformed, Message, Question, Ranked, Reply

ASKED = (Message("user", "Which river flows through the old city of Cologne?"),)
# content words: river, flows, through, old, city, cologne -> full marks at three of them
FIFTEEN = "The river Rhine flows past Cologne from south to north and then to the sea."
NONE = {"ends": 0, "fresh": 0, "subject": 0, "length": 0}


def ranked(*responses: str) -> Ranked:
    box = RubricBox()
    question = Question(ASKED, responses)
    answer = box.read(box.ask(box.request(question)), question)
    assert isinstance(answer, Ranked)
    return answer


def test_a_good_answer_gets_full_marks() -> None:
    assert points(ASKED, FIFTEEN) == {"ends": 1, "fresh": 1, "subject": 1, "length": 1}
    assert ranked(FIFTEEN).scores == (1.0,)


@pytest.mark.parametrize("nothing", ["", "   ", "...", "?!", "\n\n", "\u2014 \u2026 \u201d", "```"])
def test_no_word_earns_nothing(nothing: str) -> None:
    assert points(ASKED, nothing) == NONE


@pytest.mark.parametrize("end", [".", "!", "?", "\u2026", '."', ".\u201d", ".)", "\u3002", ".  \n"])
def test_a_sentence_that_ends_is_seen(end: str) -> None:
    assert points(ASKED, f"It is the Rhine{end}")["ends"] == 1


@pytest.mark.parametrize("end", ["", ",", ":", " and", " -"])
def test_a_sentence_cut_short_is_seen(end: str) -> None:
    assert points(ASKED, f"It is the Rhine{end}")["ends"] == 0


def test_repetition_costs_the_share_of_repeated_triples() -> None:
    # six words, four triples: abc bca cab abc -> three distinct of four
    assert points(ASKED, "one two three one two three")["fresh"] == pytest.approx(3 / 4)
    assert points(ASKED, "yes " * 12)["fresh"] == pytest.approx(1 / 10)


def test_one_or_two_words_are_too_few_to_be_fresh() -> None:
    assert points(ASKED, "The Rhine.")["fresh"] == 0


def test_the_subject_counts_content_words_up_to_half_of_them() -> None:
    assert points(ASKED, "It is a river, I would say")["subject"] == pytest.approx(1 / 3)
    assert points(ASKED, "Cologne is a city on a river")["subject"] == 1
    assert points(ASKED, "I like trains very much")["subject"] == 0


def test_four_content_words_are_always_enough() -> None:
    asked = (Message("user", "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda"),)
    assert points(asked, "alpha said delta to kappa and then eta left")["subject"] == 1


def test_an_echo_of_the_prompt_has_no_subject_of_its_own() -> None:
    assert points(ASKED, ASKED[0].content)["subject"] == 0
    assert points(ASKED, "the old city of Cologne?")["subject"] == 0


def test_a_prompt_without_content_words_cannot_be_strayed_from() -> None:
    assert points((Message("user", "What is it?"),), "It is a river.")["subject"] == 1


@pytest.mark.parametrize(
    ("words", "mark"),
    [(3, 0.2), (15, 1), (60, 1), (90, 0.5), (120, 0), (500, 0)],
)
def test_length_is_a_plateau_with_slopes(words: int, mark: float) -> None:
    text = " ".join(f"w{k}" for k in range(words))
    assert points(ASKED, text)["length"] == pytest.approx(mark)


def test_the_last_user_message_is_the_subject() -> None:
    dialogue = (
        Message("user", "Tell me about trains and stations"),
        Message("assistant", "They run."),
        Message("user", "And now about volcanoes"),
    )
    assert points(dialogue, "Volcanoes are mountains that spit fire.")["subject"] == 1
    assert points(dialogue, "Trains run between stations all day.")["subject"] == 0


def test_equal_answers_tie_and_better_ones_stand_above() -> None:
    answer = ranked("I do not know", FIFTEEN, "", FIFTEEN)
    assert answer.ranking == ((1, 3), (0,), (2,))


def test_every_response_is_told_why() -> None:
    answer = ranked("", FIFTEEN)
    assert answer.why["points"] == [NONE, dict.fromkeys(NONE, 1.0)]
    assert answer.scores == (0.0, 1.0)


@given(st.lists(st.text(max_size=80), min_size=1, max_size=6))
def test_any_text_is_ranked_and_scored_in_range(responses: list[str]) -> None:
    answer = ranked(*responses)
    assert is_ranking_of(answer.ranking, range(len(responses)))
    assert answer.scores is not None
    assert all(0 <= score <= 1 for score in answer.scores)
    order = [answer.scores[item] for group in answer.ranking for item in group]
    assert all(better >= worse - 1e-9 for better, worse in itertools.pairwise(order))


@pytest.mark.parametrize(
    "text",
    [
        "prose",
        "[]",
        "{}",
        '{"ranking": [0, 1], "scores": [1, 1], "why": []}',
        '{"ranking": [[0]], "scores": [1, 1], "why": []}',
        '{"ranking": [[0], [1]], "scores": ["x", 1], "why": []}',
        '{"ranking": [[0], [1]], "scores": [1, 1], "why": 3}',
    ],
)
def test_a_stored_reply_that_is_not_the_rubrics_is_a_value(text: str) -> None:
    question = Question(ASKED, ("a", "b"))
    assert isinstance(RubricBox().read(Reply(text, "stop"), question), Malformed)
