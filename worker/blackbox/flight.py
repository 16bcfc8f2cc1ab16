"""Calls in flight: as many at once, and as many a minute, as the judge bears."""

import json
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from worker.blackbox.breaker import Breaker
from worker.blackbox.failures import (
    AskFailure,
    ConnectFailed,
    EndpointDown,
    PersonNeeded,
    RateLimited,
    ServerFailed,
    TimedOut,
)
from worker.blackbox.pace import Pace
from worker.blackbox.threads import STEP_SECONDS, DaemonThreads, Halt, Underway
from worker.blackbox.tries import LONGEST_WAIT_SECONDS
from worker.blackbox.types import Request
from worker.cycle.types import Reply

CHARACTERS_PER_TOKEN = 3
"""Fewer than texts have on average: an estimate should rather be too high."""
THREADS_PER_CALL = 2
"""A call that waits for its next try holds a thread, not one of the places in flight."""

DEAD = (ConnectFailed, TimedOut, ServerFailed)
"""What an endpoint that is down gives; any other failure is an answer of one that lives."""

T = TypeVar("T")


class Limits(Protocol):
    """What a credential bears, known to all who use it."""

    def reserve(self, tokens: int) -> float:
        """Take one request and so many tokens; return the seconds until they may be used."""
        ...

    def settle(self, tokens: int) -> None:
        """Add tokens to a reservation that took too few, or give back with a negative number."""
        ...

    def block(self, seconds: float) -> None:
        """Let nobody post for so long."""
        ...

    def blocked(self) -> float:
        """Seconds for which nobody may post."""
        ...


class Unlimited:
    """No limit a minute; a wait that the judge asked for holds for this process alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._blocked_until = 0.0
        self._alone = threading.Lock()

    def reserve(self, tokens: int) -> float:  # noqa: ARG002 - all tokens are free
        """Nothing but a block has to be waited for."""
        return self.blocked()

    def settle(self, tokens: int) -> None:
        """Nothing was taken."""

    def block(self, seconds: float) -> None:
        """Let nobody post for so long; a longer block that runs already stays."""
        with self._alone:
            self._blocked_until = max(self._blocked_until, self._clock() + seconds)

    def blocked(self) -> float:
        """Seconds for which nobody may post."""
        return max(0.0, self._blocked_until - self._clock())


class Flight:
    """The calls of one job to one judge; `concurrency` bounds those in flight at once.

    A place in flight is held from before a post's ledger row is written until it is settled,
    and while the credential's limits make it wait: nobody behind it might post earlier.
    """

    def __init__(
        self,
        concurrency: int,
        limits: Limits,
        interrupted: Callable[[], bool],
        breaker: Breaker | None = None,
    ) -> None:
        self.pace = Pace(concurrency)
        self._breaker = breaker or Breaker()
        self.halt = Halt(interrupted)
        self._limits = limits
        self._threads = DaemonThreads(THREADS_PER_CALL * concurrency)
        self._hopeless: PersonNeeded | None = None

    def submit(self, work: Callable[[], T]) -> Underway[T]:
        """Have a thread do it."""
        return Underway(self._threads.submit(work), self.halt)

    def post(self, tokens: int, post: Callable[[], Reply]) -> Reply:
        """Post as soon as the limits let it; `tokens` is an estimate.

        Raises:
            AskFailure: the post's; or one that lets no further post make sense, without a post.
            Interrupted: it was time to stop before the post.
        """
        while not self.pace.enter(STEP_SECONDS):
            self.halt.check()
        try:
            return self._answered(tokens, post)
        finally:
            self.pace.leave()

    def close(self, grace_seconds: float) -> bool:
        """Drop what is not posted and wait for what is; False if a post still hangs after that."""
        self.halt.closing.set()
        return self._threads.close(grace_seconds)

    def _answered(self, tokens: int, post: Callable[[], Reply]) -> Reply:
        """Post; while the endpoint is left alone a failed trial is nobody's failure."""
        while True:
            self._outwait()
            self._admit(tokens)
            try:
                return self._watched(tokens, post)
            except DEAD as failure:
                if failure.maybe_paid or not self._breaker.is_open:
                    raise

    def _outwait(self) -> None:
        """Wait while the endpoint is left alone."""
        while (wait := self._breaker.wait()) > 0:
            if self._breaker.outlasted():
                raise EndpointDown("the judge has not answered for too long")
            self.halt.sleep(min(wait, STEP_SECONDS))

    def _admit(self, tokens: int) -> None:
        wait = self._limits.reserve(tokens)
        while wait > 0:
            self._refuse_long_blocks(wait)
            self.halt.sleep(wait)
            # A block that came meanwhile voids the reservation; a new one lies behind the block.
            wait = self._limits.reserve(tokens) if self._limits.blocked() > 0 else 0
        self.halt.check()
        if self._hopeless is not None:
            raise self._hopeless

    def _refuse_long_blocks(self, wait: float) -> None:
        """A job whose judge is closed for long should give back its machine."""
        if wait <= LONGEST_WAIT_SECONDS:
            return
        blocked = self._limits.blocked()
        if blocked > LONGEST_WAIT_SECONDS:
            raise RateLimited("the judge asked all its callers to wait", retry_after=blocked)

    def _watched(self, tokens: int, post: Callable[[], Reply]) -> Reply:
        wave = self.pace.wave
        try:
            reply = post()
        except AskFailure as failure:
            self._failed(failure, wave, tokens)
            raise
        self.pace.answered(wave)
        self._breaker.answered()
        if reply.tokens_in is not None and reply.tokens_out is not None:
            self._limits.settle(reply.tokens_in + reply.tokens_out - tokens)
        return reply

    def _failed(self, failure: AskFailure, wave: int, tokens: int) -> None:
        if isinstance(failure, PersonNeeded):
            self._hopeless = failure
        if isinstance(failure, DEAD):
            self._breaker.failed()
        else:
            self._breaker.answered()
        if isinstance(failure, RateLimited):
            self.pace.limited(wave)
            self._limits.block(failure.retry_after or 0.0)
        if not failure.maybe_paid:
            self._limits.settle(-tokens)


def most_tokens(request: Request) -> tuple[int, int]:
    """The most tokens of a request and of the reply to it.

    No token is shorter than a byte, and the request's JSON is longer than what a model reads.
    """
    longest = request.parameters.get("max_tokens")
    text = json.dumps(request.as_json(), ensure_ascii=False)
    return len(text.encode()), longest if isinstance(longest, int) else 0


def estimated_tokens(request: Request) -> int:
    """Estimate the tokens of a request and the longest reply to it."""
    characters = sum(len(turn.content) for turn in request.messages)
    longest = request.parameters.get("max_tokens")
    return characters // CHARACTERS_PER_TOKEN + (longest if isinstance(longest, int) else 0)
