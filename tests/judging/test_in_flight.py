"""Many calls at once, through a real ledger to a real server."""

import threading
import time
from collections import Counter
from functools import partial

import pytest
from sqlalchemy import Engine, create_engine

from app.core.db import transaction
from app.core.errors import Fenced
from app.core.lease import settle
from app.core.models import Act
from app.core.spec.catalogue import RubricJudge
from tests.judge_server import JudgeServer, after, hangs, once, ranks, says, status
from tests.judging.asking import (
    calls,
    judge_on,
    new_book,
    place,
    question,
    states,
    submit,
    usage,
)
from worker.blackbox.failures import CredentialRejected, RateLimited
from worker.blackbox.rubric import RubricBox
from worker.cycle.ports import Answered
from worker.cycle.types import Malformed, Ranked, Unanswered, Verdict
from worker.judging import open_judge
from worker.ledger.book import Book


def ranking(verdict: Verdict) -> object:
    assert isinstance(verdict, Ranked), verdict
    return verdict.ranking


def test_calls_are_in_flight_together_up_to_the_concurrency(
    book: Book, server: JudgeServer
) -> None:
    server.otherwise = after(0.3, ranks())
    with judge_on(book, server, concurrency=6) as judge:
        start = time.monotonic()
        pending = submit(judge, range(12))
        submitted = time.monotonic() - start
        assert not pending[-1].done()
        verdicts = [each.result() for each in pending]
        spent = time.monotonic() - start
    assert submitted < 1.5
    assert server.most_in_flight == 6
    assert 0.6 <= spent < 3.0
    assert {ranking(verdict) for verdict in verdicts} == {((1,), (2,), (0,))}
    assert len(server.posts) == usage(book)["judge_posts"] == 12


def test_each_question_gets_its_own_answer_in_whatever_order_they_come(
    book: Book, server: JudgeServer
) -> None:
    def rule(task: dict[str, object]) -> list[int]:
        """An order that depends on the question's number alone."""
        number = int(str(task["dialogue"]).split("about ")[1].split("?")[0])
        return [[0, 1, 2], [1, 2, 0], [2, 0, 1]][number % 3]

    server.script.extend(after(0.4 - 0.05 * n, ranks(rule)) for n in range(8))

    with judge_on(book, server, concurrency=8) as judge:
        pending = submit(judge, range(8))
        answers = [ranking(each.result()) for each in pending]
    orders = [((0,), (1,), (2,)), ((1,), (2,), (0,)), ((2,), (0,), (1,))]
    assert answers == [orders[n % 3] for n in range(8)]


def test_a_refusal_halves_the_calls_in_flight_and_answers_let_them_grow_again(
    book: Book, server: JudgeServer
) -> None:
    all_asked, cut_seen = threading.Barrier(8), threading.Event()
    server.script.extend([once(partial(all_asked.wait, 30), status(429))] * 8)
    server.otherwise = once(partial(cut_seen.wait, 30), ranks())
    with judge_on(book, server, concurrency=8) as judge:
        pending = submit(judge, range(8))
        while len(calls(book)) < 9:
            time.sleep(0.02)
        cut = judge._flight.pace.limit
        cut_seen.set()
        assert all(isinstance(each.result(), Ranked) for each in pending)
        pending = submit(judge, range(8, 60))
        assert all(isinstance(each.result(), Ranked) for each in pending)
        grown = judge._flight.pace.limit
    assert cut == 4
    assert grown == 8
    assert len(server.posts) == usage(book)["judge_posts"] == 68
    assert usage(book)["judge_failures"] == 8


def test_a_retry_after_holds_every_call_of_the_job(book: Book, server: JudgeServer) -> None:
    server.script.append(status(429, headers={"retry-after": "1"}))
    with judge_on(book, server, concurrency=4) as judge:
        first = judge.submit(place(0), question(0))
        while not calls(book) or calls(book)[0].outcome is None:
            time.sleep(0.01)
        time.sleep(0.05)
        others = submit(judge, range(1, 4))
        assert all(isinstance(each.result(), Ranked) for each in [first, *others])
    refused = server.posts[0].at
    assert len(server.posts) == 5
    assert min(post.at for post in server.posts[1:]) >= refused + 1


def test_a_call_that_waits_for_its_next_try_leaves_its_place_to_others(
    book: Book, server: JudgeServer
) -> None:
    server.script.append(status(503, headers={"retry-after": "2"}))
    with judge_on(book, server, concurrency=1) as judge:
        waiting = judge.submit(place(0), question(0))
        others = submit(judge, range(1, 5))
        assert all(isinstance(each.result(), Ranked) for each in others)
        assert not waiting.done()
        assert isinstance(waiting.result(), Ranked)


def test_the_same_question_of_two_lanes_is_posted_once(book: Book, server: JudgeServer) -> None:
    server.otherwise = after(0.2, ranks())
    with judge_on(book, server) as judge:
        pending = [judge.submit(place(step), question(0)) for step in range(6)]
        assert len({ranking(each.result()) for each in pending}) == 1
    assert len(server.posts) == 1
    assert Counter(call.kind for call in calls(book)) == {"post": 1, "reuse": 5}
    assert usage(book)["judge_reuses"] == 5
    assert usage(book).get("extra_paid", 0) == 0


def test_the_ledger_counts_what_the_server_counted(book: Book, server: JudgeServer) -> None:
    acts = [status(500), says("prose"), status(429), status(400), ranks(), status(503)]
    server.script.extend(after(0.02 * (n % 5), act) for n, act in enumerate(acts * 4))
    with judge_on(book, server, concurrency=9, tries=8) as judge:
        verdicts = [each.result() for each in submit(judge, range(24))]
    assert all(isinstance(v, Ranked | Unanswered | Malformed) for v in verdicts)
    posts = [call for call in calls(book) if call.kind == "post"]
    counted = usage(book)
    assert len(posts) == len(server.posts) == counted["judge_posts"]
    assert counted["judge_failures"] == 16
    assert Counter(call.outcome for call in posts) == {
        "done": len(posts) - 16,
        "server_error": 8,
        "rate_limited": 4,
        "bad_request": 4,
    }
    assert counted["judge_tokens_in"] == 100 * (len(posts) - 16)


def test_many_threads_need_few_connections_beside_the_runners_own(
    database_url: str, engine: Engine, server: JudgeServer
) -> None:
    few = create_engine(database_url, pool_size=2, max_overflow=0, pool_timeout=5)
    book = Book(few, new_book(engine).lease)
    with judge_on(book, server, concurrency=32, requests_per_minute=100_000) as judge:
        pending = submit(judge, range(64))
        assert all(isinstance(each.result(), Ranked) for each in pending)
    few.dispose()
    assert len(server.posts) == 64


def test_two_jobs_that_ask_the_same_things_do_not_wait_for_each_other_in_a_circle(
    engine: Engine, server: JudgeServer
) -> None:
    one, other = new_book(engine), new_book(engine)
    with judge_on(one, server) as first, judge_on(other, server) as second:
        forth = submit(first, range(24))
        back = [second.submit(place(n), question(n)) for n in reversed(range(24))]
        assert all(isinstance(each.result(), Ranked) for each in [*forth, *back])
    assert states(engine) == ["done"] * 24
    assert usage(one)["judge_posts"] + usage(other)["judge_posts"] == len(server.posts)


def test_a_rejected_credential_is_raised_and_not_tried_by_those_behind(
    book: Book, server: JudgeServer
) -> None:
    server.otherwise = once(partial(threading.Barrier(2).wait, 30), status(401))
    with judge_on(book, server, concurrency=2) as judge:
        pending = submit(judge, range(20))
        for each in pending:
            with pytest.raises(CredentialRejected):
                each.result()
    assert len(server.posts) == 2


def test_a_judge_that_is_closed_for_long_is_not_asked_by_those_behind(
    book: Book, server: JudgeServer
) -> None:
    server.otherwise = status(429, headers={"retry-after": "3000"})
    with judge_on(book, server, concurrency=1) as judge:
        for each in submit(judge, range(5)):
            with pytest.raises(RateLimited):
                each.result()
    assert len(server.posts) == 1


def test_a_lost_lease_is_told_where_the_answer_is_waited_for(
    book: Book, server: JudgeServer, engine: Engine
) -> None:
    server.otherwise = after(0.2, ranks())
    with judge_on(book, server) as judge:
        pending = judge.submit(place(0), question(0))
        while not server.posts:
            time.sleep(0.01)
        with transaction(engine) as session:
            settle(session, book.lease, Act.GIVE_BACK)
        with pytest.raises(Fenced):
            pending.result()


def test_what_answers_in_place_is_asked_in_the_callers_thread(book: Book) -> None:
    entry = RubricJudge(type="rubric")
    threads = threading.active_count()
    with open_judge(
        RubricBox(), entry, "rubric", book, interrupted=lambda: False, stop_grace_seconds=8
    ) as judge:
        pending = judge.submit(place(0), question(0))
        assert isinstance(pending, Answered)
        assert isinstance(pending.result(), Ranked)
    assert threading.active_count() == threads
    assert usage(book)["judge_posts"] == 1


def test_a_hanging_judge_ends_at_its_time_limit_for_one_question_alone(
    book: Book, server: JudgeServer
) -> None:
    server.script.extend([hangs, hangs])
    with judge_on(book, server, timeout_seconds=0.5, tries=1) as judge:
        verdicts = [each.result() for each in submit(judge, range(6))]
    assert Counter(type(verdict) for verdict in verdicts) == {Ranked: 4, Unanswered: 2}
