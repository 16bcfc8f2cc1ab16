import threading

from hypothesis import given
from hypothesis import strategies as st

from worker.blackbox.pace import Pace


def fill(pace: Pace) -> int:
    """Enter as often as there is room; returns how often."""
    entered = 0
    while pace.enter(0):
        entered += 1
    return entered


def test_as_many_enter_as_the_limit_and_the_next_when_one_leaves() -> None:
    pace = Pace(3)
    assert fill(pace) == 3
    pace.leave()
    assert fill(pace) == 1


def test_a_wave_of_refusals_halves_once() -> None:
    pace = Pace(16)
    wave = pace.wave
    for _ in range(16):
        pace.limited(wave)
    assert pace.limit == 8
    pace.limited(pace.wave)
    assert pace.limit == 4


def test_the_limit_never_falls_below_one() -> None:
    pace = Pace(3)
    for _ in range(5):
        pace.limited(pace.wave)
    assert pace.limit == 1
    assert fill(pace) == 1


def test_it_grows_by_one_after_as_many_answers_as_the_limit_and_not_beyond_its_start() -> None:
    pace = Pace(4)
    pace.limited(pace.wave)
    grown = []
    for _ in range(12):
        pace.answered(pace.wave)
        grown.append(pace.limit)
    assert grown == [2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4]


def test_answers_to_posts_from_before_a_cut_say_nothing_about_the_pace_after_it() -> None:
    pace = Pace(4)
    before = pace.wave
    pace.limited(before)
    for _ in range(10):
        pace.answered(before)
    assert pace.limit == 2


def test_after_a_cut_nobody_enters_until_enough_have_left() -> None:
    pace = Pace(4)
    fill(pace)
    pace.limited(pace.wave)
    pace.leave()
    pace.leave()
    assert not pace.enter(0)
    pace.leave()
    assert pace.enter(0)


@given(most=st.integers(1, 64), acts=st.lists(st.booleans(), max_size=200))
def test_the_limit_stays_between_one_and_the_most(most: int, acts: list[bool]) -> None:
    pace = Pace(most)
    for refused in acts:
        (pace.limited if refused else pace.answered)(pace.wave)
        assert 1 <= pace.limit <= most


def test_many_threads_never_hold_more_places_than_there_are() -> None:
    pace, seen = Pace(5), []

    def work() -> None:
        for _ in range(50):
            assert pace.enter(10)
            seen.append(pace.in_flight)
            pace.answered(pace.wave)
            pace.leave()

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 600
    assert max(seen) <= 5
    assert pace.in_flight == 0
