"""Work in threads that nobody has to wait for."""

import subprocess
import sys
import threading
import time
from concurrent.futures import Future

import pytest

from worker.blackbox.threads import DaemonThreads, Halt, Underway
from worker.whitebox.errors import Interrupted


def going() -> bool:
    return False


def test_work_is_done_by_at_most_so_many_threads_and_all_of_it() -> None:
    threads, gate = DaemonThreads(3), threading.Barrier(3)

    def work(number: int) -> int:
        gate.wait(5)
        return number

    futures = [threads.submit(lambda n=n: work(n)) for n in range(9)]  # type: ignore[misc]
    assert [future.result(5) for future in futures] == list(range(9))
    assert threads.close(5)


def test_a_free_thread_is_used_before_another_is_started() -> None:
    threads, names = DaemonThreads(8), set()
    for _ in range(5):
        names.add(threads.submit(threading.get_ident).result(5))
        time.sleep(0.02)
    assert threads.close(5)
    assert len(names) == 1


def test_what_the_work_raises_is_raised_where_it_is_waited_for() -> None:
    threads = DaemonThreads(1)
    waiting = Underway(threads.submit(lambda: 1 // 0), Halt(going))
    with pytest.raises(ZeroDivisionError):
        waiting.result()
    assert waiting.done()
    assert threads.close(5)


def test_closing_drops_what_was_not_begun() -> None:
    threads, begun, go_on = DaemonThreads(1), threading.Event(), threading.Event()

    def work() -> bool:
        begun.set()
        return go_on.wait(5)

    first, second = threads.submit(work), threads.submit(work)
    assert begun.wait(5)
    assert not threads.close(0)
    go_on.set()
    assert threads.close(5)
    assert first.result(0)
    assert not second.done()


def test_a_wait_for_a_result_ends_soon_after_the_caller_is_asked_to_stop() -> None:
    stopping = threading.Event()
    waiting = Underway(Future[int](), Halt(stopping.is_set))
    threading.Timer(0.1, stopping.set).start()
    start = time.monotonic()
    with pytest.raises(Interrupted):
        waiting.result()
    assert time.monotonic() - start < 3


def test_a_result_that_is_there_is_returned_even_then() -> None:
    future = Future[int]()
    future.set_result(7)
    assert Underway(future, Halt(lambda: True)).result() == 7


def test_a_sleep_ends_soon_after_closing() -> None:
    halt = Halt(going)
    threading.Timer(0.1, halt.closing.set).start()
    start = time.monotonic()
    with pytest.raises(Interrupted):
        halt.sleep(60)
    assert time.monotonic() - start < 3


def test_a_sleep_lasts_as_long_as_asked() -> None:
    start = time.monotonic()
    Halt(going).sleep(0.5)
    assert 0.5 <= time.monotonic() - start < 3


def test_a_process_ends_though_a_thread_hangs() -> None:
    program = (
        "import time\n"
        "from worker.blackbox.threads import DaemonThreads\n"
        "threads = DaemonThreads(2)\n"
        "threads.submit(lambda: time.sleep(60))\n"
        "threads.close(0)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)
