"""How many calls may be in flight at once: halved by a 429, grown again by answers."""

import threading


class Pace:
    """A limit between 1 and `most` that adapts; every method may be called from any thread.

    A *wave* is the time between two cuts. Many calls of a wave may meet the same overload, so only
    the first of them cuts, and only answers of the present wave count towards growth.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = most
        self._wave = 0
        self._answers = 0
        self._in_flight = 0
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """Calls that may be in flight now."""
        return self._limit

    @property
    def in_flight(self) -> int:
        """Calls that are; more than `limit` just after a cut."""
        return self._in_flight

    @property
    def wave(self) -> int:
        """Cuts so far; a call remembers it when it is posted."""
        return self._wave

    def enter(self, seconds: float) -> bool:
        """Count one more call as soon as there is room; False if there was none for so long."""
        with self._changed:
            room = self._changed.wait_for(lambda: self._in_flight < self._limit, seconds)
            self._in_flight += room
            return room

    def leave(self) -> None:
        """Count one call less."""
        with self._changed:
            self._in_flight -= 1
            self._changed.notify_all()

    def answered(self, wave: int) -> None:
        """Grow by one after as many answers as the limit."""
        with self._changed:
            if wave != self._wave:
                return
            self._answers += 1
            if self._answers >= self._limit:
                self._answers = 0
                self._limit = min(self._most, self._limit + 1)
                self._changed.notify_all()

    def limited(self, wave: int) -> None:
        """Halve, unless the call was posted before the last cut."""
        with self._changed:
            if wave == self._wave:
                self._wave += 1
                self._answers = 0
                self._limit = max(1, self._limit // 2)
