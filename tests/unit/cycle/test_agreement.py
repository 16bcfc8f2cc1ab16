"""Agreement against the paper's definition, by hand and by brute force."""

import itertools
from fractions import Fraction

import pytest

from worker.cycle.agreement import agreement, chance_baseline
from worker.cycle.types import Ranking


def strict(order: tuple[int, ...]) -> Ranking:
    return tuple((item,) for item in order)


def weak_orders(n: int) -> list[Ranking]:
    """Every ranking of n ids, ties included."""
    orders = set()
    for places in itertools.product(range(n), repeat=n):
        groups = (tuple(i for i in range(n) if places[i] == place) for place in range(n))
        orders.add(tuple(group for group in groups if group))
    return sorted(orders)


def rises(ids: tuple[int, ...], ranking: Ranking) -> bool:
    places = [next(p for p, group in enumerate(ranking) if i in group) for i in ids]
    return all(a < b for a, b in itertools.pairwise(places))


def brute_force(black: Ranking, white: Ranking) -> tuple[int, ...]:
    """Try every subsequence of the black box, longest first; choose by its groups, then white's."""
    items = [i for group in black for i in group]
    for length in range(len(items), 0, -1):
        found = [
            ids
            for ids in itertools.combinations(items, length)
            if rises(ids, black) and rises(ids, white)
        ]
        if found:
            place = [{i: p for p, group in enumerate(r) for i in group} for r in (black, white)]
            return min(found, key=lambda ids: [[p[i] for i in ids] for p in place] + [list(ids)])
    return ()


@pytest.mark.parametrize(
    ("black", "white", "expected"),
    [
        ((1, 3, 2, 0), (1, 3, 2, 0), (1, 3, 2, 0)),
        ((1, 3, 2, 0), (3, 1, 0, 2), (1, 2)),
        ((0, 1, 2, 3), (2, 3, 0, 1), (0, 1)),
        ((2, 0, 1), (0, 2, 1), (2, 1)),
        ((0, 1, 2, 3), (1, 0, 3, 2), (0, 2)),
        ((0, 1, 2, 3), (3, 2, 1, 0), (0,)),
    ],
)
def test_the_longest_common_subsequence_with_the_highest_black_box_ranks(
    black: tuple[int, ...], white: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert agreement(strict(black), strict(white)) == expected


def test_a_tie_in_the_black_box_is_resolved_by_the_white_box() -> None:
    assert agreement(((0, 1), (2,)), ((1,), (0,), (2,))) == (1, 2)


def test_nothing_agrees_on_nothing() -> None:
    assert agreement((), ()) == ()


def test_rankings_of_different_ids_have_no_agreement() -> None:
    with pytest.raises(ValueError, match="different ids"):
        agreement(((0,),), ((1,),))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_all_permutations_agree_with_brute_force(n: int) -> None:
    # Renaming the ids by rank loses nothing: only the white box's order matters then.
    black = strict(tuple(range(n)))
    for order in itertools.permutations(range(n)):
        assert agreement(black, strict(order)) == brute_force(black, strict(order))


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_all_weak_orders_agree_with_brute_force(n: int) -> None:
    for black, white in itertools.product(weak_orders(n), repeat=2):
        assert agreement(black, white) == brute_force(black, white)


@pytest.mark.parametrize("n", [3, 4, 5])
def test_names_of_ids_do_not_matter_for_permutations(n: int) -> None:
    white = strict(tuple(range(n)))
    for order in itertools.permutations(range(n)):
        assert agreement(strict(order), white) == brute_force(strict(order), white)


def test_agreement_with_oneself_is_oneself() -> None:
    black = strict((3, 1, 0, 2))
    assert agreement(black, black) == (3, 1, 0, 2)


@pytest.mark.parametrize(
    ("n", "of_lengths_from_1"),
    [
        (1, [Fraction(1)]),
        (2, [Fraction(1, 2), Fraction(1, 2)]),
        (3, [Fraction(1, 6), Fraction(4, 6), Fraction(1, 6)]),
        (4, [Fraction(1, 24), Fraction(13, 24), Fraction(9, 24), Fraction(1, 24)]),
        (5, [Fraction(k, 120) for k in (1, 41, 61, 16, 1)]),
    ],
)
def test_chance_baseline_has_its_known_values(n: int, of_lengths_from_1: list[Fraction]) -> None:
    assert list(chance_baseline(n).values()) == of_lengths_from_1


def test_chance_baseline_counts_every_permutation_of_six() -> None:
    black = strict(tuple(range(6)))
    lengths = [len(agreement(black, strict(p))) for p in itertools.permutations(range(6))]
    counted = {length: Fraction(lengths.count(length), 720) for length in range(1, 7)}
    assert chance_baseline(6) == counted


def test_chance_baseline_sums_to_one_for_sixteen_candidates() -> None:
    assert sum(chance_baseline(16).values()) == 1
