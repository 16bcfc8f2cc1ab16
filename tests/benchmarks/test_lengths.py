"""Lengths and iterations are keyed, and follow the law that the comparison rests on."""

from statistics import fmean

import pytest

from benchmarks.lengths import SHORTEST, log_normal, response_length
from benchmarks.workload import Workload, changed

PLACES = [(prompt, iteration, k) for prompt in range(200) for iteration in (1, 2) for k in range(4)]


def test_a_length_depends_on_its_place_alone() -> None:
    first = [response_length(0, *place, mean=48) for place in PLACES]
    assert first == [response_length(0, *place, mean=48) for place in PLACES]
    assert first != [response_length(1, *place, mean=48) for place in PLACES]
    assert len(set(first)) > 40


def test_lengths_keep_their_mean_and_bounds() -> None:
    lengths = [response_length(0, *place, mean=48) for place in PLACES]
    assert fmean(lengths) == pytest.approx(48, rel=0.03)
    assert min(lengths) >= SHORTEST
    assert max(lengths) == 96


def test_the_median_of_the_log_normal_law_lies_below_its_mean() -> None:
    """exp(-sigma^2 / 2) = exp(-0.08) = 0.9231."""
    assert log_normal(100.0, 0.4, 0.5) == pytest.approx(92.31, abs=0.01)


def test_iterations_are_geometric_and_cut() -> None:
    """Chance 0.35, at most 5: (1 - 0.65^5) / 0.35 = 2.526 in the mean."""
    workload = Workload(prompts=4000)
    iterations = [workload.iterations_of(prompt) for prompt in range(4000)]
    assert set(iterations) == {1, 2, 3, 4, 5}
    assert fmean(iterations) == pytest.approx(2.526, rel=0.03)
    assert workload.prompt_iterations == sum(iterations)
    assert iterations.count(1) / 4000 == pytest.approx(0.35, abs=0.03)


@pytest.mark.parametrize(("agreement", "expected"), [(0.0, 5), (1.0, 1)])
def test_certainty_needs_no_draw(agreement: float, expected: int) -> None:
    assert Workload(agreement=agreement).iterations_of(3) == expected


def test_a_field_is_read_as_what_it_is() -> None:
    workload = Workload()
    assert changed(workload, "candidates", "8") == {"candidates": 8}
    assert changed(workload, "judge_seconds", "2") == {"judge_seconds": 2.0}
    with pytest.raises(ValueError, match="no field 'speed'"):
        changed(workload, "speed", "1")
    with pytest.raises(ValueError, match="none of lora, full"):
        Workload(**changed(workload, "tuning", "partial"))
