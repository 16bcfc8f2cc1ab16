"""Judges behind the loopback server, asked through a real ledger."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, select

from app.core.db import transaction
from app.core.models import Job, JudgeCall, JudgeQuestion
from app.core.spec.catalogue import OpenAiJudge
from tests import factories
from tests.execution.leasing import claimed
from tests.judge_server import JudgeServer
from worker.blackbox.openai import OpenAiBox, OpenAiEndpoint
from worker.cycle.ports import Pending
from worker.cycle.types import At, Message, Question
from worker.judging import LedgeredJudge, open_judge
from worker.ledger.book import Book


def going() -> bool:
    return False


def entry_of(server: JudgeServer, **fields: Any) -> OpenAiJudge:
    return OpenAiJudge.model_validate(
        {"type": "openai", "base_url": server.url, "model": "fake-judge", **fields}
    )


def new_book(engine: Engine) -> Book:
    """A lease on a job of its own."""
    factories.job(engine)
    return Book(engine, claimed(engine))


@contextmanager
def judge_on(
    book: Book,
    server: JudgeServer,
    *,
    interrupted: Callable[[], bool] = going,
    grace_seconds: float = 8.0,
    **fields: Any,
) -> Iterator[LedgeredJudge]:
    entry = entry_of(server, **fields)
    endpoint = OpenAiEndpoint(
        server.url, entry.model, tries=entry.tries, timeout_seconds=entry.timeout_seconds
    )
    opened = open_judge(
        OpenAiBox(endpoint),
        entry,
        "endpoint",
        book,
        interrupted=interrupted,
        stop_grace_seconds=grace_seconds,
    )
    with opened as judge:
        yield judge


def question(number: int) -> Question:
    """Three responses, of which the second is the longest."""
    texts = (f"Answer {number}.", f"A longer answer to question {number}.", "I do not know.")
    return Question((Message("user", f"What about {number}?"),), texts)


def place(number: int) -> At:
    return At("align", number, 0)


def submit(judge: LedgeredJudge, numbers: range) -> list[Pending]:
    return [judge.submit(place(number), question(number)) for number in numbers]


def usage(book: Book) -> dict[str, Any]:
    with transaction(book.engine) as session:
        return session.get_one(Job, book.lease.job_id).usage


def calls(book: Book) -> list[JudgeCall]:
    with transaction(book.engine) as session:
        of_job = select(JudgeCall).where(JudgeCall.job_id == book.lease.job_id)
        return list(session.scalars(of_job.order_by(JudgeCall.step, JudgeCall.try_)))


def states(engine: Engine) -> list[str]:
    with transaction(engine) as session:
        return sorted(session.scalars(select(JudgeQuestion.state)))
