"""Our own repeats of a post, each counted by the caller; the SDK's are switched off."""

import random
from collections.abc import Callable
from typing import TypeVar

from worker.blackbox.failures import AskFailure, EndpointDown

BASE_SECONDS = 1.0
CAP_SECONDS = 60.0
LONGEST_WAIT_SECONDS = 600.0
"""A longer Retry-After is not waited for in place: the job should give back its machine."""
MAYBE_PAID_POSTS = 2
"""A post that may have been paid for without an answer is repeated once, never more often."""

T = TypeVar("T")


def with_retries(
    post: Callable[[int], T], *, tries: int, sleep: Callable[[float], None], jitter_seed: int
) -> T:
    """Call `post` with the number of the try, from 1, until it answers or must not be repeated.

    `sleep` takes seconds and may raise to interrupt the wait; what it raises passes through.

    Raises:
        AskFailure: the last one. A `retry_after` beyond `LONGEST_WAIT_SECONDS` is raised at once.
    """
    maybe_paid = 0
    number = 1
    while True:
        try:
            return post(number)
        except AskFailure as failure:
            maybe_paid += failure.maybe_paid
            if number >= tries or maybe_paid >= MAYBE_PAID_POSTS or not _repeatable(failure):
                raise
            wait = wait_seconds(failure.retry_after, number, jitter_seed)
        sleep(wait)
        number += 1


def outlasts(failure: AskFailure) -> bool:
    """Whether it takes a wait that nobody should sit through."""
    if isinstance(failure, EndpointDown):
        return True
    return failure.retry_after is not None and failure.retry_after > LONGEST_WAIT_SECONDS


def wait_seconds(retry_after: float | None, number: int, jitter_seed: int) -> float:
    """Full jitter: uniform in [0, min(cap, base * 2^(number-1))]; a Retry-After is a lower bound.

    On top of a Retry-After comes up to one base, so that waiting callers do not return together.
    """
    draw = random.Random(f"{jitter_seed}:{number}").random()  # noqa: S311 - spreads load, no secret
    if retry_after is not None:
        return retry_after + draw * BASE_SECONDS
    doublings: int = 2 ** (number - 1)
    return draw * BASE_SECONDS * min(CAP_SECONDS / BASE_SECONDS, doublings)


def _repeatable(failure: AskFailure) -> bool:
    return failure.retryable and not outlasts(failure)
