"""The circuit breaker: when it opens, whom it lets through, when it gives up."""

import pytest

from worker.blackbox.breaker import Breaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(300, clock)


def test_four_failures_in_a_row_are_borne_and_the_fifth_opens_it(breaker: Breaker) -> None:
    for _ in range(4):
        breaker.failed()
    assert breaker.wait() == 0
    breaker.failed()
    assert breaker.wait() == 30


def test_an_answer_between_failures_keeps_it_closed_until_half_have_failed(
    breaker: Breaker,
) -> None:
    for _ in range(9):
        breaker.failed()
        breaker.answered()
    breaker.answered()
    assert breaker.wait() == 0
    breaker.failed()
    assert breaker.wait() == 30


def test_an_open_one_lets_one_post_through_at_a_time_and_closes_with_its_answer(
    breaker: Breaker, clock: Clock
) -> None:
    for _ in range(5):
        breaker.failed()
    clock.now = 31
    assert breaker.wait() == 0
    assert breaker.wait() == 30
    breaker.failed()
    clock.now = 62
    assert breaker.wait() == 0
    breaker.answered()
    assert [breaker.wait(), breaker.wait()] == [0, 0]
    breaker.failed()
    assert breaker.wait() == 0


def test_it_has_outlasted_patience_only_if_nothing_was_answered_meanwhile(
    breaker: Breaker, clock: Clock
) -> None:
    for _ in range(5):
        breaker.failed()
    clock.now = 299
    breaker.failed()
    assert not breaker.outlasted()
    clock.now = 301
    assert breaker.outlasted()
    breaker.answered()
    assert not breaker.outlasted()


def test_without_a_longest_outage_it_never_opens() -> None:
    breaker = Breaker()
    for _ in range(100):
        breaker.failed()
    assert breaker.wait() == 0
