"""Estimates against numbers from the literature and by hand."""

import math
import random

import pytest

from app.services.measures.calibration import bins, expected_error
from app.services.measures.estimates import mean, share, sign_test


def test_wilson_s_interval_is_that_of_the_formula() -> None:
    """p = 0.6, n = 100, z = 1.95996: centre (p + z^2/2n) / (1 + z^2/n) = 0.59630."""
    z, p, n = 1.959964, 0.6, 100
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    found = share(60, 100)
    assert found.value == 0.6
    assert found.low == pytest.approx(centre - half, abs=1e-5)
    assert found.high == pytest.approx(centre + half, abs=1e-5)


def test_nothing_measured_is_no_number() -> None:
    assert share(0, 0).value is None
    assert mean([]).low is None
    assert sign_test(0, 0) is None
    assert not share(0, 0).above(0.5)


def test_the_bootstrap_covers_the_mean_about_as_often_as_it_says() -> None:
    draw = random.Random(5)
    hits = 0
    for seed in range(100):
        found = mean([draw.gauss(1.0, 2.0) for _ in range(60)], seed)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 1.0 <= found.high
    assert 88 <= hits <= 99


def test_the_sign_test_is_that_of_coins() -> None:
    """8 of 8 heads or none: 2 / 256; 5 of 10 says nothing."""
    assert sign_test(8, 0) == pytest.approx(2 / 256)
    assert sign_test(5, 5) == pytest.approx(1.0)


def test_a_model_that_is_as_right_as_it_says_is_calibrated() -> None:
    honest = bins([0.75] * 4, [True, True, True, False])
    assert expected_error(honest) == 0.0
    boaster = bins([0.99] * 4 + [0.51] * 4, [True, False] * 4)
    assert [one.n for one in boaster] == [4, 4]
    assert expected_error(boaster) == pytest.approx((0.49 + 0.01) / 2)
    assert expected_error([]) is None
