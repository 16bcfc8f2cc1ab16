"""Rankings as groups: what is a ranking, and when two of them say the same."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.measures.rankings import match
from worker.cycle.ranking import (
    flatten,
    from_scores,
    is_ranking_of,
    kendall_tau,
    opposed_pairs,
    ordered_pairs,
    orders_a_pair,
    pairs_alike,
    positions,
    relabel,
    same_order,
)
from worker.cycle.types import Ranking

SCORES = st.lists(st.integers(0, 3).map(float), min_size=2, max_size=5)
SCORED_TWICE = st.lists(st.tuples(*[st.integers(0, 3).map(float)] * 2), min_size=2, max_size=5)


def ranked(scores: list[float]) -> Ranking:
    return from_scores(dict(enumerate(scores)))


def strict(order: tuple[int, ...]) -> Ranking:
    return tuple((item,) for item in order)


def test_higher_scores_stand_higher_and_equal_scores_tie() -> None:
    assert from_scores({0: 0.1, 1: 0.9, 2: 0.1}) == ((1,), (0, 2))


def test_a_score_that_is_no_number_cannot_be_ranked() -> None:
    with pytest.raises(ValueError, match="not numbers"):
        from_scores({0: 0.1, 1: float("nan")})


def test_a_ranking_flattens_and_tells_positions() -> None:
    assert flatten(((1,), (0, 2))) == (1, 0, 2)
    assert positions(((1,), (0, 2))) == {1: 0, 0: 1, 2: 1}


@pytest.mark.parametrize(
    ("ranking", "ids", "valid"),
    [
        (((1,), (0, 2)), (0, 1, 2), True),
        (((1,), (0,)), (0, 1, 2), False),
        (((1,), (0, 1, 2)), (0, 1, 2), False),
        (((1,), (), (0,)), (0, 1), False),
        (((5,), (3,)), (3, 5), True),
    ],
)
def test_a_ranking_names_every_id_once(ranking: Ranking, ids: tuple[int, ...], valid: bool) -> None:
    assert is_ranking_of(ranking, ids) is valid


def test_presented_positions_become_sample_indices() -> None:
    assert relabel(((2,), (0, 1)), (7, 4, 5)) == ((5,), (4, 7))


@given(SCORES, st.randoms(use_true_random=False))
def test_presenting_in_any_order_and_relabelling_gives_the_same_ranking(
    scores: list[float], random: object
) -> None:
    for shown in itertools.islice(itertools.permutations(range(len(scores))), 24):
        presented = ranked([scores[k] for k in shown])
        assert relabel(presented, shown) == ranked(scores)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_strict_rankings_are_the_same_only_when_identical(n: int) -> None:
    for one, other in itertools.product(itertools.permutations(range(n)), repeat=2):
        assert same_order(strict(one), strict(other)) is (one == other)


def test_a_step_stops_when_nothing_is_opposed_and_something_ordered() -> None:
    assert same_order(((0, 1), (2,)), ((1,), (0,), (2,)))
    assert not same_order(((0, 1), (2,)), ((2,), (0,), (1,)))
    assert not same_order(((0, 1, 2),), ((1,), (0,), (2,)))


def test_only_groups_above_groups_order_a_pair() -> None:
    assert orders_a_pair(((0,), (1,)))
    assert not orders_a_pair(((0, 1),))
    assert not orders_a_pair(())


@given(SCORES)
def test_pairs_are_ordered_opposed_or_tied(scores: list[float]) -> None:
    one = ranked(scores)
    other = from_scores({k: -score for k, score in enumerate(scores)})
    ties = sum(a == b for a, b in itertools.combinations(scores, 2))
    pairs = len(scores) * (len(scores) - 1) // 2
    assert ordered_pairs(one, other) == 0
    assert opposed_pairs(one, other) == ordered_pairs(one, one) == pairs - ties


def test_kendall_tau_by_hand() -> None:
    assert kendall_tau(strict((0, 1, 2)), strict((0, 1, 2))) == 1
    assert kendall_tau(strict((0, 1, 2)), strict((2, 1, 0))) == -1
    assert kendall_tau(strict((0, 1, 2)), strict((1, 0, 2))) == pytest.approx(1 / 3)
    assert kendall_tau(((0, 1), (2,)), strict((0, 1, 2))) == pytest.approx(2 / 3)


def test_pairs_that_stand_alike_by_hand() -> None:
    assert pairs_alike(strict((0, 1, 2)), strict((0, 1, 2))) == 1
    assert pairs_alike(strict((0, 1, 2)), strict((2, 1, 0))) == 0
    assert pairs_alike(strict((0, 1, 2)), strict((1, 0, 2))) == pytest.approx(2 / 3)
    assert pairs_alike(((0, 1), (2,)), strict((0, 1, 2))) == pytest.approx(2.5 / 3)
    assert pairs_alike(((0, 1), (2,)), ((0, 1), (2,))) == 1


@given(SCORED_TWICE)
def test_pairs_stand_alike_as_reports_measure_it(scores: list[tuple[float, float]]) -> None:
    one, other = ([pair[side] for pair in scores] for side in range(2))
    reported = match(ranked(one), dict(enumerate(other))).pairwise
    assert pairs_alike(ranked(one), ranked(other)) == pytest.approx(reported)


def test_rankings_of_other_ids_are_not_compared() -> None:
    with pytest.raises(ValueError, match="different ids"):
        same_order(((0,), (1,)), ((0,), (2,)))
    with pytest.raises(ValueError, match="two ids"):
        kendall_tau(((0,),), ((0,),))
    with pytest.raises(ValueError, match="two ids"):
        pairs_alike(((0,),), ((0,),))
