"""Means and intervals over runs and prompts at once."""

import numpy as np
import pytest

from app.services.measures.crossed import crossed_mean, gain_at_equal_length
from app.services.measures.estimates import mean

NAN = float("nan")


def test_the_mean_leaves_out_what_is_missing() -> None:
    found = crossed_mean(np.array([[1.0, 2.0], [NAN, 6.0]]))
    assert found.value == pytest.approx(3.0)
    assert found.n == 3


def test_nothing_to_measure_is_no_number() -> None:
    assert crossed_mean(np.empty((0, 0))).value is None
    assert crossed_mean(np.array([[NAN]])).value is None


def test_runs_that_differ_widen_the_interval_that_prompts_alone_would_give() -> None:
    draw = np.random.default_rng(0)
    table = draw.normal(0, 1, (3, 64)) + np.array([[-4.0], [0.0], [4.0]])
    crossed, alone = crossed_mean(table), mean(table.reshape(-1).tolist())
    assert crossed.low is not None
    assert alone.low is not None
    assert crossed.low < 3 * alone.low
    assert not crossed.above(0)


def test_a_gain_that_comes_from_length_alone_is_gone_at_equal_length() -> None:
    longer = np.array([[-10.0, 0.0, 10.0, 20.0], [5.0, 15.0, 25.0, -5.0]])
    assert gain_at_equal_length(0.5 * longer, longer).value == pytest.approx(0.0)
    assert gain_at_equal_length(3 + 0.5 * longer, longer).value == pytest.approx(3.0)


def test_answers_of_equal_lengths_keep_their_gain() -> None:
    found = gain_at_equal_length(np.array([[1.0, 3.0]]), np.zeros((1, 2)))
    assert found.value == pytest.approx(2.0)
