"""Derived randomness: the same place draws the same, another place another."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from worker.cycle.seeds import derive, permutation, sampling_seed
from worker.cycle.types import At


def test_seeds_are_pinned_so_that_old_jobs_resume_alike() -> None:
    assert derive(17, "sample", "align", 3, 1, 0) == 3799961764477366275
    assert permutation(17, At("align", 3, 1), 5, "present") == (0, 2, 1, 3, 4)


@given(st.integers(), st.lists(st.integers() | st.text(max_size=5), max_size=4))
def test_a_seed_fits_63_bits(seed: int, parts: list[int | str]) -> None:
    assert 0 <= derive(seed, *parts) < 2**63


def test_parts_are_told_apart() -> None:
    places: list[tuple[int | str, ...]] = [(1, 23), (12, 3), ("1", 23), ("1,23",), (1, "23")]
    assert len({derive(0, *parts) for parts in places}) == len(places)


def test_every_sample_of_every_place_has_its_own_seed() -> None:
    seeds = [
        sampling_seed(seed, At(stage, step, iteration), k)
        for seed in (0, 1)
        for stage in ("align", "held_out_before")
        for step in range(5)
        for iteration in range(5)
        for k in range(4)
    ]
    assert len(set(seeds)) == len(seeds)


@given(st.integers(), st.integers(0, 20))
def test_a_permutation_permutes(seed: int, n: int) -> None:
    assert sorted(permutation(seed, At("align", 0, 0), n, "present")) == list(range(n))


def test_permutations_are_about_uniform() -> None:
    drawn = Counter(permutation(seed, At("align", 0, 0), 3, "present") for seed in range(6000))
    assert len(drawn) == 6
    assert all(850 < count < 1150 for count in drawn.values())


def test_purposes_draw_independently() -> None:
    at = At("align", 0, 0)
    pairs = {(permutation(s, at, 2, "present"), permutation(s, at, 2, "demonstrate"))
             for s in range(50)}  # fmt: skip
    assert len(pairs) == 4
