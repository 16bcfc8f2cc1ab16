"""A runner killed at any point costs work and no more: `python -m tests.chaos.points` in small."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.bench import OVER_HTTP, Bench, bench_of
from tests.chaos.points import break_at, choose, run_unbroken

LANES = {1: 4, 8: 8}
"""Points to break at, by lanes; at least half as many, since not every run passes the same."""


@pytest.fixture(params=LANES)
def bench(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[Bench]:
    with bench_of(request.param, OVER_HTTP, database_url, tmp_path) as made:
        yield made


def test_a_job_killed_at_a_point_ends_like_one_that_nobody_killed(bench: Bench) -> None:
    unbroken = run_unbroken(bench)
    lanes = bench.spec.method.concurrency
    kinds = len({point.place for point in unbroken.points})
    some = choose(unbroken.points, every=kinds // LANES[lanes] + 1, seed=lanes)
    outcomes = [break_at(bench, unbroken, point) for point in some]
    assert [str(one) for one in outcomes if not one.equal] == []
    assert len(outcomes) >= LANES[lanes] // 2


@pytest.mark.parametrize("bench", [1], indirect=True)
def test_what_is_forgotten_is_seen(bench: Bench) -> None:
    unbroken = run_unbroken(bench)
    without_moments = break_at(bench, unbroken, unbroken.late, "optimizer")
    assert "checkpoints" in without_moments.differs
    without_answers = break_at(bench, unbroken, unbroken.late, "ledger")
    assert without_answers.extra > without_answers.in_flight
    assert not without_answers.equal
