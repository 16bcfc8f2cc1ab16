"""Self-consistency and position consistency: a run's judge is asked again over loopback HTTP."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.core.db import transaction
from app.core.lease import Lease, settle
from app.core.models import Act, JudgeCall, JudgeQuestion, RankingRow
from app.services.reports.consistency import Consistency
from tests.judge_server import Act as Answer
from tests.judge_server import JudgeServer, Rule, ranks, says
from tests.run.conftest import job_of
from tests.run.contests import report_of
from worker import runner
from worker.ending import DONE, STOPPED


def as_presented(task: dict[str, Any]) -> list[int]:
    return [one["id"] for one in task["candidates"]]


def by_text(task: dict[str, Any]) -> list[int]:
    return [one["id"] for one in sorted(task["candidates"], key=lambda one: one["response"])]


def never_twice() -> Rule:
    """As presented, and the reverse of that when it is asked the same again."""
    asked: Counter[str] = Counter()

    def rule(task: dict[str, Any]) -> list[int]:
        # a NUL that a model of random weights writes is stored as another character
        written = json.dumps(task, sort_keys=True, ensure_ascii=False)
        question = "".join(letter for letter in written if " " <= letter <= "~")
        question = question.replace("\\u0000", "")
        asked[question] += 1
        return as_presented(task)[:: 1 if asked[question] == 1 else -1]

    return rule


@pytest.fixture
def ask_again(
    engine: Engine,
    judge: JudgeServer,
    compare: Callable[..., str],
    submit: Callable[..., str],
    run_here: Callable[..., int],
    work: Callable[[], int],
) -> Callable[..., Consistency]:
    """Run a job with a judge, then ask that judge again."""

    def run(rule: Rule, n: int = 50, later: Answer | None = None) -> Consistency:
        judge.otherwise = ranks(rule)
        judged = submit(judge="endpoint")
        assert run_here() == DONE
        judge.otherwise = later or judge.otherwise
        job_id = compare(
            prompts=None, contestants=[], scorers=[], judged=judged, consistency={"n": n}
        )
        assert work() == DONE
        job = job_of(engine, job_id)
        assert job.progress["steps_done"] == job.steps_total
        found = report_of(engine, job_id).consistency
        assert found is not None
        return found

    return run


def test_a_judge_that_reads_the_texts_is_steady(ask_again: Callable[..., Consistency]) -> None:
    found = ask_again(by_text)
    assert found.again.asked == found.reversed.asked > 6
    for one in (found.again, found.reversed):
        assert (one.unreadable, one.exact.value, one.pairwise.value, one.top.value) == (0, 1, 1, 1)


def test_a_judge_that_reads_places_is_steady_until_they_change(
    ask_again: Callable[..., Consistency],
) -> None:
    found = ask_again(as_presented)
    assert found.again.exact.value == 1.0
    assert found.reversed.exact.value == 0.0
    assert found.reversed.pairwise.value == 0.0
    assert found.reversed.top.value == 0.0


def test_a_judge_that_changes_its_mind_is_not_answered_for_by_the_ledger(
    engine: Engine, judge: JudgeServer, ask_again: Callable[..., Consistency]
) -> None:
    found = ask_again(never_twice(), n=4)
    assert found.again.asked == 4
    assert found.again.exact.value == 0.0
    with transaction(engine) as session:
        repeats = session.scalars(select(JudgeQuestion.repeat)).all()
        calls = session.scalars(select(JudgeCall).where(JudgeCall.repeat == 1)).all()
    assert repeats.count(1) == 4
    assert {call.kind for call in calls} == {"post"}
    assert len(judge.posts) == len(repeats)


def test_replies_that_cannot_be_read_are_counted(ask_again: Callable[..., Consistency]) -> None:
    found = ask_again(by_text, n=3, later=says("Hm."))
    for one in (found.again, found.reversed):
        assert (one.asked, one.unreadable, one.exact.value) == (3, 3, None)


def test_a_stopped_one_goes_on_without_asking_twice(
    engine: Engine,
    judge: JudgeServer,
    compare: Callable[..., str],
    submit: Callable[..., str],
    run_here: Callable[..., int],
    take: Callable[[], Lease],
    work: Callable[[], int],
) -> None:
    judge.otherwise = ranks(by_text)
    judged = submit(judge="endpoint")
    assert run_here() == DONE
    job_id = compare(prompts=None, contestants=[], judged=judged, consistency={"n": 5})
    lease = take()
    assert runner.evaluate(lease, job_of(engine, job_id), threading.Event(), 4) == STOPPED
    with transaction(engine) as session:
        settle(session, lease, Act.GIVE_BACK)
    before = len(judge.posts)
    assert work() == DONE
    with transaction(engine) as session:
        rows = session.scalars(select(RankingRow).where(RankingRow.job_id == job_id)).all()
    assert sorted(row.stage for row in rows) == ["again"] * 5 + ["reversed"] * 5
    assert len(judge.posts) - before <= 10 - 3
