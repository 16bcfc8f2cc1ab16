"""A ranking beside scores: exact, pair by pair, and at the top."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.measures.rankings import match


@pytest.mark.parametrize(
    ("scores", "exact", "pairwise", "top"),
    [
        ((0.9, 0.5, 0.1), True, 1.0, 1.0),
        ((0.1, 0.5, 0.9), False, 0.0, 0.0),
        ((0.5, 0.9, 0.1), False, 2 / 3, 0.0),
        ((0.9, 0.1, 0.5), False, 2 / 3, 1.0),
        ((0.9, 0.9, 0.1), False, 2.5 / 3, 0.5),
        ((0.4, 0.4, 0.4), False, 0.5, 1 / 3),
    ],
)
def test_a_ranking_of_three_beside_scores(
    scores: tuple[float, ...], exact: bool, pairwise: float, top: float
) -> None:
    found = match([[0], [1], [2]], dict(enumerate(scores)))
    assert found.exact is exact
    assert found.pairwise == pytest.approx(pairwise)
    assert found.top == pytest.approx(top)


def test_ties_on_both_sides_are_the_same_order() -> None:
    assert match([[0, 1], [2]], {0: 0.7, 1: 0.7, 2: 0.1}).exact


@given(st.permutations(range(4)))
def test_the_reverse_is_as_wrong_as_the_order_is_right(order: list[int]) -> None:
    scores = {item: float(-place) for place, item in enumerate(order)}
    groups = [[item] for item in order]
    assert match(groups, scores).pairwise == 1.0
    assert match(groups[::-1], scores).pairwise == 0.0
