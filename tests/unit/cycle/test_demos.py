"""Demonstrations: re-indexed, shuffled, and the same after a round trip through JSON."""

import itertools
import json

import pytest

from worker.cycle.demonstration import BUILT_IN
from worker.cycle.demos import Dynamic, demonstrate, demonstrated_order, from_json, to_json
from worker.cycle.ranking import flatten, is_ranking_of
from worker.cycle.types import Message, Ranking

ASKED = (Message("user", "How do I boil an egg?"),)
TEXTS = {0: "zero", 2: "two", 5: "five"}


@pytest.mark.parametrize("shuffle", list(itertools.permutations(range(3))))
def test_the_answer_reads_the_responses_in_the_demonstrated_order(
    shuffle: tuple[int, ...],
) -> None:
    made = demonstrate(ASKED, ((5,), (0,), (2,)), TEXTS, shuffle, "agreement")
    assert [made.responses[i] for i in flatten(made.answer)] == ["five", "zero", "two"]
    assert made.origin == "agreement"


def test_a_shuffled_demonstration_does_not_answer_best_first() -> None:
    made = demonstrate(ASKED, ((5,), (0,), (2,)), TEXTS, (1, 2, 0), "agreement")
    assert made.responses == ("zero", "two", "five")
    assert made.answer == ((2,), (0,), (1,))


def test_ties_stay_ties() -> None:
    made = demonstrate(ASKED, ((5,), (0, 2)), TEXTS, (2, 0, 1), "black_box")
    assert made.responses == ("two", "five", "zero")
    assert made.answer == ((1,), (0, 2))


def test_a_shuffle_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="does not permute"):
        demonstrate(ASKED, ((5,), (0,)), TEXTS, (0, 1, 2), "agreement")


@pytest.mark.parametrize(
    ("dynamic", "order"),
    [
        ("agreement", ((5,), (2,))),
        ("black_box", ((5,), (0, 2))),
        ("white_box", ((5,), (2,), (0,))),
        ("none", None),
    ],
)
def test_each_ablation_demonstrates_its_own_order(dynamic: Dynamic, order: Ranking | None) -> None:
    black, white = ((5,), (0, 2)), ((5,), (2,), (0,))
    assert demonstrated_order(dynamic, black, white, (5, 2)) == order


def test_an_agreement_of_one_demonstrates_nothing() -> None:
    assert demonstrated_order("agreement", ((0,), (1,)), ((1,), (0,)), (0,)) is None
    assert demonstrated_order("black_box", ((0, 1),), ((1,), (0,)), (0,)) is None


def test_a_demonstration_survives_json() -> None:
    made = demonstrate(ASKED, ((5,), (0, 2)), TEXTS, (2, 0, 1), "black_box")
    written = to_json(made)
    assert json.loads(json.dumps(written)) == written
    assert from_json(written) == made


def test_a_demonstration_whose_answer_misses_a_response_is_refused() -> None:
    written = to_json(BUILT_IN) | {"answer": [[0], [1]]}
    with pytest.raises(ValueError, match="does not rank"):
        from_json(written)


def test_the_built_in_demonstration_is_whole_and_not_best_first() -> None:
    assert is_ranking_of(BUILT_IN.answer, range(len(BUILT_IN.responses)))
    assert flatten(BUILT_IN.answer) != tuple(range(4))
    assert BUILT_IN.origin == "static"
