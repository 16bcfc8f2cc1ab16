"""Requests and tokens a minute, shared over workers by one row."""

import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine

from app.core.db import transaction
from app.core.models import JudgeLimit
from tests.judge_server import JudgeServer, status
from tests.judging.asking import judge_on, new_book, place, question, submit, usage
from worker.blackbox.flight import estimated_tokens
from worker.blackbox.types import Request
from worker.cycle.types import Message, Ranked
from worker.ledger.book import Book
from worker.ledger.limits import (
    LONGEST_BLOCK_SECONDS,
    Rate,
    SharedLimits,
    credential_hash,
    open_limits,
)

START = datetime(2026, 1, 1, tzinfo=UTC)


def schedule(rate: Rate, asked: Iterable[tuple[float, int]]) -> list[tuple[float, int]]:
    """When each reservation may be used, in seconds, from pauses and amounts."""
    clear_at, now, used = START, START, []
    for pause, amount in asked:
        now += timedelta(seconds=pause)
        clear_at = max(clear_at, now)
        at = max(now, rate.earliest(clear_at, amount))
        clear_at = rate.taken(clear_at, at, amount)
        used.append(((at - START).total_seconds(), amount))
    return used


def fullest_minute(used: list[tuple[float, int]]) -> int:
    return max(sum(n for at, n in used if start <= at < start + 60) for start, _ in used)


PAUSES = st.one_of(st.just(0.0), st.floats(0, 90))


@given(per_minute=st.integers(1, 300), pauses=st.lists(PAUSES, min_size=1, max_size=400))
def test_no_minute_has_more_requests_than_the_limit(per_minute: int, pauses: list[float]) -> None:
    used = schedule(Rate(per_minute), [(pause, 1) for pause in pauses])
    assert fullest_minute(used) <= per_minute


@given(
    asked=st.lists(st.tuples(PAUSES, st.integers(1, 1000)), min_size=1, max_size=200),
)
def test_no_minute_has_more_tokens_than_the_limit(asked: list[tuple[float, int]]) -> None:
    assert fullest_minute(schedule(Rate(10_000), asked)) <= 10_000


def test_most_of_the_limit_is_used_when_there_is_enough_to_do() -> None:
    used = schedule(Rate(600), [(0.0, 1)] * 3000)
    last = used[-1][0]
    assert 3000 / (last / 60) > 0.85 * 600
    assert sum(at == 0 for at, _ in used) == 60


def test_a_request_larger_than_the_limit_waits_for_its_turn_and_not_for_ever() -> None:
    waits = [at for at, _ in schedule(Rate(1000), [(0.0, 50_000)] * 3)]
    assert waits[0] == 0
    assert all(later - sooner < 70 for sooner, later in pairwise(waits))


def shared(engine: Engine, requests: int | None = None, tokens: int | None = None) -> SharedLimits:
    return open_limits(engine, "credential", requests, tokens)


def test_two_workers_at_once_leave_no_minute_with_more_than_the_limit(
    engine: Engine, database_url: str
) -> None:
    engines = [create_engine(database_url) for _ in range(2)]
    used: list[tuple[float, int]] = []

    def work(worker: Engine) -> None:
        limits = shared(worker, requests=30)
        used.extend((limits.reserve(100) + time.monotonic(), 1) for _ in range(40))

    threads = [threading.Thread(target=work, args=[e]) for e in engines for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in engines:
        each.dispose()
    assert len(used) == 160
    assert 20 <= fullest_minute(used) <= 30


def test_posts_of_two_workers_keep_their_distance(engine: Engine, server: JudgeServer) -> None:
    rate = Rate(300)
    with (
        judge_on(new_book(engine), server, requests_per_minute=300) as one,
        judge_on(new_book(engine), server, requests_per_minute=300) as other,
    ):
        pending = [*submit(one, range(18)), *submit(other, range(100, 118))]
        assert all(isinstance(each.result(), Ranked) for each in pending)
    times = sorted(post.at for post in server.posts)
    assert len(times) == 36
    late = 0.6  # what a busy machine may take from the first distance
    assert times[-1] - times[0] >= rate.spacing(36 - rate.burst).total_seconds() - late


def test_reported_usage_corrects_the_estimate(engine: Engine) -> None:
    limits = shared(engine, tokens=60_000)
    assert limits.reserve(6_000) == 0
    long = limits.reserve(6_000)
    limits.settle(-5_900)
    limits.settle(-5_900)
    short = limits.reserve(6_000)
    assert long > 5
    assert 0 <= short < 1


def test_absurd_usage_does_not_close_a_credential(engine: Engine) -> None:
    limits = shared(engine, tokens=1000)
    limits.reserve(10)
    limits.settle(10**9)
    assert limits.reserve(10) < 120
    limits.settle(-(10**9))
    assert limits.reserve(10) < 60


def test_what_the_judge_reports_is_what_stays_taken(engine: Engine, server: JudgeServer) -> None:
    book = new_book(engine)
    with judge_on(book, server, tokens_per_minute=1_000_000) as judge:
        start = datetime.now(UTC)
        assert isinstance(judge.submit(place(0), question(0)).result(), Ranked)
    with transaction(engine) as session:
        credential = credential_hash(server.url, None)
        row = session.get_one(JudgeLimit, credential)
        assert row.requests_clear_at is None
        assert row.tokens_clear_at is not None
        taken = row.tokens_clear_at - start
    tokens = usage(book)["judge_tokens_in"] + usage(book)["judge_tokens_out"]
    assert tokens == 110
    expected = Rate(1_000_000).spacing(tokens)
    assert expected <= taken < expected + timedelta(seconds=2)


def test_a_retry_after_holds_the_other_workers_too(engine: Engine, server: JudgeServer) -> None:
    server.script.append(status(429, headers={"retry-after": "2"}))
    with (
        judge_on(new_book(engine), server, requests_per_minute=6000) as one,
        judge_on(new_book(engine), server, requests_per_minute=6000) as other,
    ):
        first = one.submit(place(0), question(0))
        credential = credential_hash(server.url, None)
        while not shared_block(engine, credential):
            time.sleep(0.01)
        second = other.submit(place(1), question(1))
        assert isinstance(first.result(), Ranked)
        assert isinstance(second.result(), Ranked)
    refused, *others = [post.at for post in server.posts]
    assert min(others) >= refused + 2


def shared_block(engine: Engine, credential: str) -> float:
    return open_limits(engine, credential, None, None).blocked()


def test_a_longer_block_stays_and_none_lasts_for_ever(engine: Engine) -> None:
    limits = shared(engine, requests=10)
    assert limits.blocked() == 0
    limits.block(1e300)
    limits.block(5)
    assert LONGEST_BLOCK_SECONDS - 5 < limits.blocked() <= LONGEST_BLOCK_SECONDS
    assert limits.reserve(1) > LONGEST_BLOCK_SECONDS - 5


def test_without_a_limit_no_row_is_written(engine: Engine, server: JudgeServer) -> None:
    book: Book = new_book(engine)
    with judge_on(book, server) as judge:
        judge.submit(place(0), question(0)).result()
    with transaction(engine) as session:
        assert session.query(JudgeLimit).count() == 0


def test_a_credential_is_an_address_and_a_key_whatever_the_slash() -> None:
    one = credential_hash("https://one/v1", "KEY")
    assert one == credential_hash("https://one/v1/", "KEY")
    assert (
        len({one, credential_hash("https://two/v1", "KEY"), credential_hash("https://one/v1", "K")})
        == 3
    )


@pytest.mark.parametrize(("parameters", "longest"), [({"max_tokens": 512}, 512), ({}, 0)])
def test_an_estimate_counts_the_prompt_and_the_longest_reply(
    parameters: dict[str, object], longest: int
) -> None:
    request = Request({}, "1", (Message("user", "x" * 300), Message("user", "y" * 30)), parameters)
    assert estimated_tokens(request) == 110 + longest
