"""Several presentation orders: Borda's count by hand, and how much of a judge's bias it damps."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from worker.cycle.orders import aggregated, borda, position_consistency, shifted
from worker.cycle.ranking import from_scores, kendall_tau, relabel
from worker.cycle.types import Fault, Malformed, Order, Ranked, Ranking, Unanswered, Verdict

GARBLED = Malformed(Fault.NOT_JSON, "prose", raw="I like them all.")


def strict(*ids: int) -> Ranking:
    return tuple((item,) for item in ids)


def asked(presented: tuple[int, ...], *verdicts: Verdict) -> tuple[Order, ...]:
    """The cyclic shifts of a presentation, each with its verdict."""
    shifts = [shifted(presented, by) for by in range(len(verdicts))]
    return tuple(
        Order(shown, said, relabel(said.ranking, shown) if isinstance(said, Ranked) else None)
        for shown, said in zip(shifts, verdicts, strict=True)
    )


def test_a_shift_moves_the_first_ones_behind_the_others() -> None:
    assert [shifted("abcd", by) for by in range(3)] == [(*"abcd",), (*"bcda",), (*"cdab",)]


def test_every_candidate_stands_in_every_place_once() -> None:
    orders = [shifted(range(5), by) for by in range(5)]
    assert all({order[place] for order in orders} == {*range(5)} for place in range(5))


@pytest.mark.parametrize(
    ("rankings", "whole"),
    [
        # points of 0, 1, 2: 2 1 0, then 2 0 1, then 1 2 0: 5, 3, 1
        ([strict(0, 1, 2), strict(0, 2, 1), strict(1, 0, 2)], strict(0, 1, 2)),
        # each beats each other one once or twice, in a circle: 3, 3, 3
        ([strict(0, 1, 2), strict(1, 2, 0), strict(2, 0, 1)], ((0, 1, 2),)),
        # 3 2 1 0, then 0 3 2 1: 3, 5, 3, 1
        ([strict(0, 1, 2, 3), strict(1, 2, 3, 0)], ((1,), (0, 2), (3,))),
        # 3 1.5 1.5 0, then 1 3 2 0: 4, 4.5, 3.5, 0
        ([((0,), (1, 2), (3,)), strict(1, 2, 0, 3)], strict(1, 0, 2, 3)),
        # all tied says nothing: 1.5 each, then 3 2 1 0
        ([((0, 1, 2, 3),), strict(3, 1, 0, 2)], strict(3, 1, 0, 2)),
    ],
)
def test_points_are_added_up_by_hand(rankings: list[Ranking], whole: Ranking) -> None:
    assert borda(rankings) == whole


def test_rankings_of_other_ids_are_not_added() -> None:
    with pytest.raises(ValueError, match="different ids"):
        borda([strict(0, 1), strict(0, 2)])


def test_the_whole_is_told_in_positions_of_the_first_order() -> None:
    # 7 4 5 and 4 5 7 are shown; 5 is best both times, then 4 once and 7 once
    orders = asked((7, 4, 5), Ranked(strict(2, 1, 0)), Ranked(strict(1, 2, 0)))
    assert [order.black for order in orders] == [strict(5, 4, 7), strict(5, 7, 4)]
    assert aggregated(orders) == Ranked(((2,), (0, 1)))


def test_what_the_first_verdict_says_beyond_its_ranking_is_kept() -> None:
    first = Ranked(strict(0, 1), teacher="Like this.", why={"reasoning": "so"}, raw="0 1")
    orders = asked((0, 1), first, Ranked(strict(1, 0), raw="1 0"))
    assert aggregated(orders) == first


@pytest.mark.parametrize("missing", [GARBLED, Unanswered("timeout", "60 s")])
def test_orders_that_cannot_be_read_are_left_out(missing: Verdict) -> None:
    alone = asked((4, 2, 9), missing, Ranked(strict(0, 2, 1)), missing)
    # the second order shows 2 9 4, so it says 2 > 4 > 9
    assert aggregated(alone) == Ranked(strict(1, 0, 2))
    assert position_consistency(alone) is None


def test_with_no_order_that_can_be_read_it_is_the_first_verdict() -> None:
    assert aggregated(asked((0, 1), GARBLED, Unanswered("timeout", ""))) is GARBLED
    assert aggregated(()) is None


def test_one_order_is_what_it_is() -> None:
    said = Ranked(((2, 0), (1,)), teacher="Like this.", scores=(0.5, 0.1, 0.5), raw="as it came")
    assert aggregated(asked((3, 1, 2), said)) is said
    assert position_consistency(asked((3, 1, 2), said)) is None


def test_consistency_is_the_mean_share_of_pairs_left_alike() -> None:
    steady = asked((0, 1, 2), *(Ranked(strict(*shifted((0, 1, 2), -by))) for by in range(3)))
    assert {order.black for order in steady} == {strict(0, 1, 2)}
    assert position_consistency(steady) == 1
    # whoever is shown first wins: 0 1 2, 1 2 0, 2 0 1 share one pair in three, two by two
    blind = asked((0, 1, 2), *[Ranked(strict(0, 1, 2))] * 3)
    assert position_consistency(blind) == pytest.approx(1 / 3)
    # 1 of 1 pair is turned round between the two that can be read
    torn = asked((0, 1), *[Ranked(strict(0, 1))] * 2)
    assert position_consistency(torn) == 0
    assert position_consistency((*torn, replace(torn[0], verdict=GARBLED, black=None))) == 0


Orders = Callable[[random.Random], Sequence[Sequence[int]]]


def cyclic(_: random.Random) -> Sequence[Sequence[int]]:
    return [shifted(range(4), by) for by in range(4)]


def shuffled(draw: random.Random) -> Sequence[Sequence[int]]:
    return [draw.sample(range(4), 4) for _ in range(4)]


def tau(orders: Orders, bonus: float, prompts: int = 4000) -> float:
    """Mean Kendall's tau to the truth of a judge that likes what stands first.

    It sees true quality, noise of 0.5, and a bonus that falls linearly to nothing at the last of
    four places.
    """
    draw, found = random.Random(20), 0.0
    for _ in range(prompts):
        truth = {k: draw.gauss() for k in range(4)}
        said = []
        for shown in orders(draw):
            seen = {
                k: truth[k] + draw.gauss(0, 0.5) + bonus * (1 - place / 3)
                for place, k in enumerate(shown)
            }
            said.append(from_scores(seen))
        found += kendall_tau(borda(said), from_scores(truth))
    return found / prompts


def test_four_cyclic_shifts_bring_a_biased_judge_close_to_the_truth() -> None:
    assert tau(lambda _: [range(4)], 1.0) == pytest.approx(0.625, abs=0.02)
    assert tau(cyclic, 1.0) > 0.78


def test_cyclic_shifts_are_worth_more_than_as_many_random_orders() -> None:
    assert tau(cyclic, 2.0) > tau(shuffled, 2.0) + 0.08
