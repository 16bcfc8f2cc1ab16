import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.blackbox.failures import (
    AskFailure,
    BadRequest,
    ConnectFailed,
    RateLimited,
    ServerFailed,
    TimedOut,
)
from worker.blackbox.tries import wait_seconds, with_retries


class Stopped(Exception):
    pass


def run(
    script: Sequence[AskFailure | str], tries: int = 6
) -> tuple[str | AskFailure, int, list[float]]:
    """The outcome, the number of posts and the waits between them."""
    numbers: list[int] = []
    waits: list[float] = []

    def post(number: int) -> str:
        numbers.append(number)
        answer = script[min(number, len(script)) - 1]
        if isinstance(answer, AskFailure):
            raise answer
        return answer

    outcome: str | AskFailure
    try:
        outcome = with_retries(post, tries=tries, sleep=waits.append, jitter_seed=7)
    except AskFailure as failure:
        outcome = failure
    assert numbers == list(range(1, len(numbers) + 1))
    return outcome, len(numbers), waits


def test_a_first_answer_needs_no_wait() -> None:
    assert run(["yes"]) == ("yes", 1, [])


def test_the_last_failure_is_raised_after_the_last_try() -> None:
    failure = ServerFailed("down")
    assert run([failure], tries=3)[:2] == (failure, 3)


def test_a_failure_that_will_not_pass_is_raised_at_once() -> None:
    failure = BadRequest("no")
    assert run([failure, "yes"]) == (failure, 1, [])


def test_one_post_that_may_have_been_paid_is_repeated_a_second_is_not() -> None:
    paid = TimedOut("slow", maybe_paid=True)
    assert run([paid, "yes"])[:2] == ("yes", 2)
    assert run([paid, paid, "yes"])[:2] == (paid, 2)
    assert run([paid, ServerFailed("down"), RateLimited("wait"), paid, "yes"])[:2] == (paid, 4)


def test_a_connection_that_never_came_about_was_not_paid() -> None:
    assert run([*[ConnectFailed("refused")] * 5, "yes"])[:2] == ("yes", 6)


def test_ten_minutes_are_waited_for_and_more_are_not() -> None:
    outcome, posts, [wait] = run([RateLimited("wait", retry_after=600), "yes"])
    assert (outcome, posts) == ("yes", 2)
    assert 600 <= wait <= 601
    longer = RateLimited("wait", retry_after=601)
    assert run([longer, "yes"]) == (longer, 1, [])


def test_a_wait_can_be_interrupted() -> None:
    def stop(_: float) -> None:
        raise Stopped

    def post(_: int) -> str:
        raise ServerFailed("down")

    with pytest.raises(Stopped):
        with_retries(post, tries=6, sleep=stop, jitter_seed=7)


@given(number=st.integers(1, 2000), seed=st.integers())
def test_a_wait_lies_between_nothing_and_the_doubled_base_up_to_a_minute(
    number: int, seed: int
) -> None:
    assert 0 <= wait_seconds(None, number, seed) <= min(60, 2 ** (number - 1))


@given(number=st.integers(1, 20), seed=st.integers(), asked=st.floats(0, 600))
def test_a_wait_is_never_shorter_than_asked_for(number: int, seed: int, asked: float) -> None:
    assert asked <= wait_seconds(asked, number, seed) <= asked + 1


def test_waits_are_spread_over_callers_and_alike_for_one() -> None:
    waits = {wait_seconds(None, 6, seed) for seed in range(50)}
    assert len(waits) == 50
    assert min(waits) < 8
    assert max(waits) > 24
    assert all(a == b for a, b in itertools.pairwise(wait_seconds(None, 6, 3) for _ in range(3)))
