import pytest

from benchmarks.growth import Point, findings, line
from benchmarks.semantics import Learnt, compared


def points(*pairs: tuple[int, float], peak: float = 100.0) -> list[Point]:
    return [Point(at, seconds, peak) for at, seconds in pairs]


def test_a_straight_line_has_no_residual() -> None:
    offset, slope, worst = line(points((10, 7.0), (20, 12.0), (40, 22.0)))
    assert offset == pytest.approx(2.0)
    assert slope == pytest.approx(0.5)
    assert worst == pytest.approx(0.0, abs=1e-9)


def test_a_bend_shows_as_a_residual() -> None:
    *_, worst = line(points((10, 1.0), (20, 4.0), (30, 9.0)))
    assert worst > 0.1


def test_findings_name_ratios_and_peaks() -> None:
    found = findings(
        {
            "prompts": [Point(32, 3.2, 100.0), Point(64, 6.4, 101.0), Point(128, 12.8, 102.0)],
            "candidates": points((2, 2.0), (8, 5.0)),
            "lanes": points((1, 9.0), (16, 2.0), peak=2.0**20),
        }
    )
    assert found["largest_residual"] == pytest.approx(0.0, abs=1e-9)
    assert found["time_ratio_of_candidates"] == {"8/2": 2.5}
    assert found["peak_change_over_prompts"] == pytest.approx(0.02)
    assert found["peak_megabytes_by_lanes"] == {1: 1.0, 16: 1.0}


def test_lanes_are_compared_seed_by_seed() -> None:
    def learnt(iterations: float, after: float) -> Learnt:
        return Learnt(1, 0, iterations, 1.0, 0.5, after, 0.1, 9)

    pairs = [(learnt(3.3, 0.72), learnt(3.0, 0.70)), (learnt(2.7, 0.68), learnt(3.0, 0.70))]
    found = compared(pairs)
    assert sum(found["iterations"]) == pytest.approx(0.0, abs=1e-9)
    assert found["score"][1] == pytest.approx(6.314 * 0.2, rel=1e-3)
