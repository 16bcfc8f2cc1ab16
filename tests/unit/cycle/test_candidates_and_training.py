"""What reaches the judge, and what the update learns from."""

from worker.cycle.candidates import EMPTY, kept, merge
from worker.cycle.training import training_ranking
from worker.cycle.types import Candidate, Message, Prompt, Ranking, Sample, TrainingRanking

PROMPT = Prompt(0, (Message("user", "Hi"),))


def build(texts: list[str], black: Ranking, teacher: str | None = None) -> TrainingRanking | None:
    samples = {k: Sample(text, (k, 9), -1.0, "stop", k, 0) for k, text in enumerate(texts)}
    # Beliefs fall with the index, but for the last one, which is believed most.
    beliefs = [-float(k) for k in range(len(texts) - 1)] + [1.0]
    candidates = {k: Candidate(k, text, beliefs[k]) for k, text in enumerate(texts)}
    return training_ranking(PROMPT, samples, candidates, black, teacher)


def test_empty_samples_are_dropped_and_equal_ones_merged_whatever_their_space() -> None:
    merged = merge(["a b", " ", "c", "a  b\n", "c", "A b"])
    assert merged == {1: EMPTY, 3: 0, 4: 2}
    assert kept(6, merged) == (0, 2, 5)


def test_without_a_teacher_the_black_box_order_is_learnt() -> None:
    made = build(["a", "b", "c"], ((2,), (0,), (1,)))
    assert made is not None
    assert made.texts == ("c", "a", "b")
    assert made.tokens == ((2, 9), (0, 9), (1, 9))
    assert made.groups == ((0,), (1,), (2,))
    assert made.target == 0


def test_a_tied_top_is_imitated_in_its_most_believed_candidate() -> None:
    made = build(["a", "b", "c"], ((1, 2), (0,)))
    assert made is not None
    assert made.texts == ("b", "c", "a")
    assert made.groups == ((0, 1), (2,))
    assert made.texts[made.target] == "c"


def test_nothing_is_learnt_from_a_ranking_that_orders_nothing() -> None:
    assert build(["a", "b"], ((0, 1),)) is None
    assert build(["a", "b"], ((0, 1),), teacher="  ") is None


def test_the_teacher_response_stands_first_and_is_tokenised_anew() -> None:
    made = build(["a", "b"], ((0, 1),), teacher=" better ")
    assert made is not None
    assert made.texts == ("better", "a", "b")
    assert made.tokens == (None, (0, 9), (1, 9))
    assert made.groups == ((0,), (1, 2))
    assert made.target == 0


def test_a_teacher_response_equal_to_a_candidate_is_that_candidate_moved_first() -> None:
    made = build(["a", "b b", "c"], ((0,), (1,), (2,)), teacher="b  b")
    assert made is not None
    assert made.texts == ("b b", "a", "c")
    assert made.tokens == ((1, 9), (0, 9), (2, 9))
    assert made.groups == ((0,), (1,), (2,))
    assert made.target == 0


def test_a_twin_leaves_its_tie() -> None:
    made = build(["a", "b", "c"], ((0, 1, 2),), teacher="b")
    assert made is not None
    assert made.texts == ("b", "a", "c")
    assert made.groups == ((0,), (1, 2))
