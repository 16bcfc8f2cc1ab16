"""A circuit breaker: an endpoint that keeps failing is left alone, and tried again one by one."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable

IN_A_ROW = 5
WINDOW = 20
MOST_FAILED = 10
"""Of the last `WINDOW` posts."""
OPEN_SHARE = 0.1
"""Of the longest outage: how long nobody posts before one post is tried, 30 s of 300 s."""


class Breaker:
    """Of one job's posts to one endpoint; thread-safe.

    It opens after `IN_A_ROW` failures in a row, or half of the last `WINDOW`. An open one lets a
    single post through from time to time, and closes when that is answered.
    """

    def __init__(
        self, longest_outage: float = math.inf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`longest_outage` is in seconds; with none it never opens."""
        self.longest_outage = longest_outage
        self._clock = clock
        self._last: deque[bool] = deque(maxlen=WINDOW)
        self._failed_in_a_row = 0
        self._opened_at: float | None = None
        self._closed_until = 0.0
        self._alone = threading.Lock()

    def wait(self) -> float:
        """Seconds until one may post. At zero an open one takes the caller as the next trial."""
        with self._alone:
            if self._opened_at is None:
                return 0.0
            wait = self._closed_until - self._clock()
            if wait <= 0:
                self._closed_until = self._clock() + self._pause
            return max(0.0, wait)

    @property
    def is_open(self) -> bool:
        """Whether the endpoint is left alone."""
        with self._alone:
            return self._opened_at is not None

    def outlasted(self) -> bool:
        """Whether it has been open for so long that nobody should sit through it."""
        with self._alone:
            opened = self._opened_at
            return opened is not None and self._clock() - opened > self.longest_outage

    def answered(self) -> None:
        """Note an answer of whatever kind: the endpoint lives."""
        with self._alone:
            self._failed_in_a_row = 0
            self._last.append(False)
            if self._opened_at is not None:
                self._last.clear()
            self._opened_at = None

    def failed(self) -> None:
        """Note a post that the endpoint did not take, or did not answer."""
        with self._alone:
            self._failed_in_a_row += 1
            self._last.append(True)
            if math.isinf(self.longest_outage) or not self._is_too_much():
                return
            if self._opened_at is None:
                self._opened_at = self._clock()
            self._closed_until = self._clock() + self._pause

    @property
    def _pause(self) -> float:
        return self.longest_outage * OPEN_SHARE

    def _is_too_much(self) -> bool:
        half = len(self._last) == WINDOW and sum(self._last) >= MOST_FAILED
        return self._failed_in_a_row >= IN_A_ROW or half or self._opened_at is not None
