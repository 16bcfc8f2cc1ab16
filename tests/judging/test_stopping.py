"""What becomes of calls in flight when the runner is asked to stop."""

import threading
import time
from collections import Counter

import pytest
from sqlalchemy import Engine

from tests.judge_server import JudgeServer, after, hangs, ranks, status
from tests.judging.asking import calls, judge_on, place, question, states, submit, usage
from worker.cycle.types import Ranked
from worker.ledger.book import Book
from worker.whitebox.errors import Interrupted


def wait_for_posts(server: JudgeServer, n: int) -> None:
    while len(server.posts) < n:
        time.sleep(0.01)


def test_posts_in_flight_are_answered_and_stored_and_the_rest_is_never_posted(
    book: Book, server: JudgeServer, engine: Engine
) -> None:
    server.otherwise = after(0.8, ranks())
    stopping = threading.Event()
    with judge_on(book, server, concurrency=4, interrupted=stopping.is_set) as judge:
        pending = submit(judge, range(20))
        wait_for_posts(server, 4)
        stopping.set()
        asked = time.monotonic()
        with pytest.raises(Interrupted):
            pending[-1].result()
        assert time.monotonic() - asked < 2
    assert time.monotonic() - asked < 5
    assert len(server.posts) == 4
    assert states(engine) == ["done"] * 4
    with judge_on(book, server) as again:
        verdicts = [each.result() for each in submit(again, range(20))]
    assert all(isinstance(verdict, Ranked) for verdict in verdicts)
    assert len(server.posts) == 20
    assert usage(book).get("extra_paid", 0) == 0


def test_a_post_that_hangs_is_left_behind_after_the_grace(
    book: Book, server: JudgeServer, engine: Engine
) -> None:
    server.otherwise = after(0.2, ranks())
    server.script.append(hangs)
    with judge_on(book, server, concurrency=3, grace_seconds=1.0) as judge:
        submit(judge, range(3))
        wait_for_posts(server, 3)
        asked = time.monotonic()
    assert 0.5 < time.monotonic() - asked < 5
    assert states(engine) == ["done", "done", "inflight"]
    server.closing.set()
    while judge._flight.pace.in_flight:
        time.sleep(0.01)
    judge.close(0)
    assert Counter(call.outcome for call in calls(book)) == {"done": 2, "connect_error": 1}


def test_waits_between_tries_end_at_once(book: Book, server: JudgeServer) -> None:
    server.otherwise = status(503, headers={"retry-after": "300"})
    stopping = threading.Event()
    with judge_on(book, server, interrupted=stopping.is_set) as judge:
        pending = judge.submit(place(0), question(0))
        while not usage(book).get("judge_failures"):
            time.sleep(0.01)
        stopping.set()
        asked = time.monotonic()
        with pytest.raises(Interrupted):
            pending.result()
    assert time.monotonic() - asked < 3
    assert len(server.posts) == 1


def test_waits_for_a_limit_a_minute_end_at_once(book: Book, server: JudgeServer) -> None:
    with judge_on(book, server, requests_per_minute=1) as judge:
        pending = submit(judge, range(3))
        assert isinstance(pending[0].result(), Ranked)
        closing = time.monotonic()
    assert time.monotonic() - closing < 3
    assert len(server.posts) == 1
