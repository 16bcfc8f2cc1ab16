"""Work in daemon threads, which a process that must end does not wait for."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from worker.whitebox.errors import Interrupted

STEP_SECONDS = 0.2
"""The longest that anybody waits without looking whether to stop."""

T = TypeVar("T")


@dataclass(frozen=True)
class Halt:
    """Whether to stop: because the caller was asked to, or because the work is over."""

    interrupted: Callable[[], bool]
    closing: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise `Interrupted` if it is time to stop."""
        if self.closing.is_set() or self.interrupted():
            raise Interrupted("asking the judge was interrupted")

    def sleep(self, seconds: float) -> None:
        """Sleep, or raise `Interrupted` soon after it is time to stop."""
        self.check()
        while seconds > 0:
            self.closing.wait(min(seconds, STEP_SECONDS))
            self.check()
            seconds -= STEP_SECONDS


@dataclass(frozen=True)
class Underway(Generic[T]):
    """Something that a thread will bring."""

    future: Future[T]
    halt: Halt

    def done(self) -> bool:
        """Whether `result` would return, or raise, at once."""
        return self.future.done()

    def result(self) -> T:
        """Wait for it; raises what the work raised, or `Interrupted` when it is time to stop."""
        while not self.future.done():
            self.halt.check()
            wait((self.future,), STEP_SECONDS)
        return self.future.result()


class DaemonThreads:
    """At most `most` threads that work off a queue in order, each started when it is needed.

    `concurrent.futures` has the interpreter wait for its threads; a judge that hangs would hold a
    stopped runner for as long as its time limit.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = threading.Semaphore(0)

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have it done by the next free thread; not to be called after `close`."""
        future: Future[T] = Future()
        self._queue.put(lambda: _bring(future, work))
        if not self._idle.acquire(blocking=False) and len(self._threads) < self._most:
            thread = threading.Thread(target=self._work_off, name="judge", daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def close(self, seconds: float) -> bool:
        """Drop what no thread has begun; wait so long for the rest, and say whether it is done."""
        deadline = time.monotonic() + seconds
        self._drop()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _drop(self) -> None:
        with suppress(Empty):
            while True:
                self._queue.get_nowait()

    def _work_off(self) -> None:
        while (work := self._queue.get()) is not None:
            work()
            self._idle.release()


def _bring(future: Future[T], work: Callable[[], T]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is waited for
        future.set_exception(error)
