"""Rows held out by their prompts: no prompt on both sides, the share as near as prompts allow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.sampling import TooFewRows, split

PROMPTS = st.lists(st.sampled_from("abcdefghij"), min_size=2, max_size=60).filter(
    lambda prompts: len(set(prompts)) > 1
)


@given(PROMPTS, st.floats(0.01, 0.99), st.integers(0, 99))
def test_no_prompt_is_on_both_sides_and_no_row_is_lost(
    prompts: list[str], share: float, seed: int
) -> None:
    training, held = split(list(enumerate(prompts)), share, seed)
    assert sorted(training + held) == list(range(len(prompts)))
    assert {prompts[k] for k in training}.isdisjoint(prompts[k] for k in held)
    assert training
    assert held


def test_of_different_prompts_exactly_the_share_is_held_out() -> None:
    rows = [(k, f"prompt {k}") for k in range(1000)]
    training, held = split(rows, 0.2, seed=1)
    assert (len(training), len(held)) == (800, 200)
    assert split(rows, 0.2, seed=1)[1] == held
    assert split(rows, 0.2, seed=2)[1] != held


def test_a_single_prompt_cannot_be_split() -> None:
    with pytest.raises(TooFewRows):
        split([(0, "a"), (1, "a")], 0.5, seed=0)
