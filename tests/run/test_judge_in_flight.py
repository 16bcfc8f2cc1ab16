"""A job in the runner whose judge is an endpoint, with calls of several lanes in flight."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from app.core.db import transaction
from app.core.lease import Lease
from app.core.models import JudgeCall, JudgeQuestion, RankingRow
from app.core.settings import get_settings
from tests.judge_server import JudgeServer, after, hangs, ranks, running_judge
from tests.run.conftest import job_of
from worker import runner
from worker.ending import DONE, STOPPED
from worker.failure import report


@pytest.fixture
def server(operator: Path) -> Iterator[JudgeServer]:
    """An endpoint in the operator's catalogue."""
    with running_judge() as running:
        entry = f'type = "openai"\nbase_url = "{running.url}"\nmodel = "judge-1"\n'
        operator.write_text(operator.read_text() + f"[judges.endpoint]\n{entry}")
        yield running


def told(engine: Engine, job_id: str) -> list[tuple[Any, ...]]:
    """The rankings of a run, in the order of its steps."""
    order = [RankingRow.step, RankingRow.iteration]
    columns = [*order, RankingRow.round, RankingRow.white_box, RankingRow.black_box]
    query = select(*columns).where(RankingRow.job_id == job_id).order_by(*order)
    with transaction(engine) as session:
        return [tuple(row) for row in session.execute(query)]


def count(engine: Engine, *where: Any) -> int:
    with transaction(engine) as session:
        return session.scalar(select(func.count()).select_from(JudgeCall).where(*where)) or 0


def test_a_run_asks_for_its_lanes_at_once_and_books_every_post(
    engine: Engine, submit: Callable[..., str], server: JudgeServer, run_here: Callable[..., int]
) -> None:
    server.otherwise = after(0.2, ranks())
    job_id = submit(judge="endpoint", method={"concurrency": 3})
    assert run_here() == DONE
    assert server.most_in_flight == 3
    assert count(engine, JudgeCall.kind == "post") == len(server.posts)
    assert job_of(engine, job_id).usage["judge_posts"] == len(server.posts)


def test_a_judges_latency_changes_nothing_in_what_a_run_records(
    engine: Engine, submit: Callable[..., str], server: JudgeServer, run_here: Callable[..., int]
) -> None:
    first = submit(judge="endpoint", method={"concurrency": 3})
    assert run_here() == DONE
    with transaction(engine) as session:
        for question in session.scalars(select(JudgeQuestion)):
            session.delete(question)
    server.script.extend(after(0.05 * (7 * n % 5), ranks()) for n in range(100))
    second = submit(judge="endpoint", method={"concurrency": 3})
    assert run_here() == DONE
    assert told(engine, first) == told(engine, second)


def test_a_runner_that_is_asked_to_stop_stores_what_is_answered_and_leaves(
    engine: Engine, submit: Callable[..., str], server: JudgeServer, take: Callable[[], Lease]
) -> None:
    server.otherwise = after(1.0, ranks())
    submit(judge="endpoint", method={"concurrency": 3})
    stopping = threading.Event()
    left: list[float] = []

    def stop() -> None:
        while len(server.posts) < 3:
            time.sleep(0.01)
        left.append(time.monotonic())
        stopping.set()

    thread = threading.Thread(target=stop)
    thread.start()
    opened = runner.open_run(take(), stopping)
    assert report(lambda: runner.run(opened)) == STOPPED
    assert time.monotonic() - left[0] < 6
    thread.join()
    assert len(server.posts) == 3
    assert count(engine, JudgeCall.outcome == "done") == 3


def test_a_runner_that_is_asked_to_stop_does_not_wait_for_a_judge_that_hangs(
    engine: Engine,
    submit: Callable[..., str],
    server: JudgeServer,
    take: Callable[[], Lease],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STOP_GRACE_SECONDS", "2")
    get_settings.cache_clear()
    server.otherwise = hangs
    submit(judge="endpoint", method={"concurrency": 2})
    stopping = threading.Event()
    opened = runner.open_run(take(), stopping)
    threading.Timer(1.0, stopping.set).start()
    start = time.monotonic()
    assert report(lambda: runner.run(opened)) == STOPPED
    assert time.monotonic() - start < 15
    assert count(engine, JudgeCall.outcome == "done") == 0
    server.closing.set()
    while count(engine, JudgeCall.outcome.is_(None)):
        time.sleep(0.02)
