"""A judge that is down: no prompt is skipped for it, and the job comes back when it does."""

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text

from app.core.db import transaction
from app.core.lease import Lease, settle
from app.core.models import Act, RankingRow
from app.core.settings import get_settings
from tests.judge_server import JudgeServer, ranks, status
from tests.run.conftest import job_of
from tests.run.test_runner import rows
from worker import runner
from worker.ending import DONE, RETRY, ending_of
from worker.failure import report


def test_a_job_whose_judge_is_down_waits_for_it_and_counts_no_failure(
    engine: Engine,
    submit: Callable[..., str],
    take: Callable[[], Lease],
    judge: JudgeServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("JUDGE_OUTAGE_SECONDS", "3")
    get_settings.cache_clear()
    judge.script.extend([ranks()] * 3)
    judge.otherwise = status(503)
    job_id = submit(judge="endpoint", method={"concurrency": 3})
    lease = take()
    assert report(lambda: runner.work(lease, threading.Event())) == RETRY
    ending = ending_of(RETRY, capsys.readouterr().out.splitlines()[-1].encode(), asked=False)
    assert ending is not None
    with transaction(engine) as session:
        settle(session, lease, Act.RETRY_LATER, error=ending.error)
    job = job_of(engine, job_id)
    assert (job.state, job.failures) == ("queued", 0)
    assert job.error is not None
    assert job.error["code"] == "judge_endpoint_down"
    down = len(judge.posts)
    assert down < 3 + 3 * 6, "an open breaker lets few posts through"

    judge.otherwise = ranks()
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET run_after = clock_timestamp()"))
    assert runner.work(take(), threading.Event()) == DONE
    assert {row.outcome for row in rows(engine, RankingRow, job_id)} <= {"updated", "agreed"}
