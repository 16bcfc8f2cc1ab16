"""Records between two contestants: what counts, and when somebody has won."""

import random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.measures.wins import Pair, Verdict, length_controlled, wins

LEFT, RIGHT = Pair("left", "left", 0), Pair("right", "right", 0)
TIE = Pair("tie", "tie", 0)
PAIRS = st.builds(
    Pair,
    st.sampled_from(get_args(Verdict)),
    st.sampled_from(get_args(Verdict)),
    st.integers(-500, 500),
)


@pytest.mark.parametrize(
    ("plain", "swapped", "verdict"),
    [
        ("left", "left", "left"),
        ("right", "right", "right"),
        ("left", "right", "tie"),
        ("tie", "tie", "tie"),
        ("left", "tie", "tie"),
        ("left", "invalid", "invalid"),
        ("invalid", "tie", "invalid"),
    ],
)
def test_two_looks_make_one_verdict(plain: Verdict, swapped: Verdict, verdict: Verdict) -> None:
    assert Pair(plain, swapped, 0).verdict == verdict


def test_a_judge_that_always_prefers_the_first_answer_gives_ties_alone() -> None:
    found = wins([Pair("left", "right", 3)] * 50, 50)
    assert (found.win, found.tie, found.lose, found.invalid) == (0, 50, 0, 0)
    assert found.position_consistency == 0.0
    assert found.winner is None


def test_what_could_not_be_read_is_no_tie() -> None:
    found = wins([LEFT] * 40 + [TIE] * 40 + [Pair("invalid", "left", 0)] * 20, 100)
    assert (found.win, found.tie, found.lose, found.invalid) == (40, 40, 0, 20)
    assert found.rate.value == pytest.approx(0.75)
    assert found.rate.n == 80


def test_a_clear_record_has_a_winner() -> None:
    assert wins([LEFT] * 40 + [RIGHT] * 5 + [TIE] * 5, 50).winner == "left"
    assert wins([RIGHT] * 40 + [LEFT] * 5 + [TIE] * 5, 50).winner == "right"


def test_no_winner_is_named_while_pairs_are_missing() -> None:
    found = wins([LEFT] * 40, 41)
    assert found.winner is None
    assert found.why == "1 of 41 pairs are not compared yet"


def test_no_winner_is_named_that_the_invalid_pairs_could_undo() -> None:
    found = wins([LEFT] * 30 + [RIGHT] * 10 + [Pair("invalid", "invalid", 0)] * 20, 60)
    assert found.gain.low is not None
    assert found.gain.low > 0
    assert found.winner is None
    assert "invalid" in found.why


def test_an_even_comparison_names_a_winner_in_at_most_5_of_100_repeats() -> None:
    draw = random.Random(11)
    named = 0
    for seed in range(100):
        pairs = draw.choices([LEFT, RIGHT, TIE], [0.4, 0.4, 0.2], k=80)
        named += wins(pairs, 80, seed).winner is not None
    assert named <= 5


@given(st.lists(PAIRS, max_size=30))
def test_the_other_side_of_a_record_is_its_mirror(pairs: list[Pair]) -> None:
    mirror: dict[Verdict, Verdict] = {
        "left": "right", "right": "left", "tie": "tie", "invalid": "invalid",
    }  # fmt: skip
    turned = [Pair(mirror[p.plain], mirror[p.swapped], -p.longer) for p in pairs]
    one, other = wins(pairs, len(pairs)), wins(turned, len(pairs))
    assert (one.win, one.tie, one.lose, one.invalid) == (
        *(other.lose, other.tie),
        *(other.win, other.invalid),
    )
    assert one.win + one.tie + one.lose + one.invalid == len(pairs)
    assert one.position_consistency == other.position_consistency


def test_a_judge_that_only_likes_length_is_even_at_equal_lengths() -> None:
    draw = random.Random(3)
    gaps = [draw.randint(-300, 500) for _ in range(200)]
    pairs = [Pair(v, v, gap) for gap in gaps for v in (("left", "right")[gap < 0],)]
    raw, controlled = wins(pairs, 200).rate, length_controlled(pairs)
    assert raw.value is not None
    assert controlled.value is not None
    assert raw.value > 0.58
    assert abs(controlled.value - 0.5) < 0.1


def test_a_judge_that_does_not_care_for_length_is_left_as_it_is() -> None:
    draw = random.Random(4)
    pairs = [
        Pair(v, v, draw.randint(-300, 300))  # type: ignore[arg-type]  # two of the four
        for v in ["left"] * 140 + ["right"] * 60
    ]
    assert length_controlled(pairs).value == pytest.approx(0.7, abs=0.03)
