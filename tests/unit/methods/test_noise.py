"""A degraded judge: how much of it is random, and that it is the same randomness each time."""

import pytest

from tests.unit.methods.runs import iterations, run
from worker.cycle.noise import with_noise
from worker.cycle.types import At, Fault, Malformed, Ranked
from worker.methods.cyclealign import CycleConfig

SURE = Ranked(((0,), (1,), (2,)), teacher="Like this.", raw="0 1 2")
PLACES = [At("align", step, iteration) for step in range(200) for iteration in range(3)]


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_so_many_rankings_are_random_as_asked(share: float) -> None:
    found = [with_noise(SURE, share, 7, at) for at in PLACES]
    kept = sum(one == SURE for one in found) / len(found)
    # a random order of three is the judge's own in one case of six
    assert kept == pytest.approx(1 - share * 5 / 6, abs=0.05)


def test_noise_is_uniform_and_follows_from_seed_and_place() -> None:
    orders = [with_noise(SURE, 1.0, 7, at) for at in PLACES]
    assert orders == [with_noise(SURE, 1.0, 7, at) for at in PLACES]
    assert orders != [with_noise(SURE, 1.0, 8, at) for at in PLACES]
    tops = [one.ranking[0][0] for one in orders if isinstance(one, Ranked)]
    assert all(150 < tops.count(item) < 250 for item in range(3))


def test_what_is_no_ranking_stays_what_it_is() -> None:
    fault = Malformed(Fault.EMPTY, "nothing came")
    assert with_noise(fault, 1.0, 7, PLACES[0]) is fault
    assert with_noise(None, 1.0, 7, PLACES[0]) is None


def test_a_random_judge_and_a_white_box_agree_as_chance_would() -> None:
    """Of three, orders are identical in one case of six (algorithms, section 1.3)."""
    config = CycleConfig(seed=3, iterations=1, candidates=3, concurrency=8, noise=1.0)
    found = [one for one in iterations(run(config, 600)) if len(one.white) == 3]
    agreed = sum(one.black == one.white for one in found)
    assert agreed / len(found) == pytest.approx(1 / 6, abs=0.05)
