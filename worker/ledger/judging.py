"""The judge ledger: a row before each post, and found answers never asked again."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningInsert

from app.core import budget as budgets
from app.core import lease as leases
from app.core.models import Job, JudgeCall, JudgeQuestion
from worker.cycle.types import At, Reply
from worker.ledger.book import Book


@dataclass(frozen=True)
class Asked:
    """What is asked: the ledger's key, and all that it is the hash of."""

    key: str
    judge: str
    question_sha256: str
    request: Mapping[str, object]
    repeat: int = 0
    """Which answer to it is wanted, where one asks again to see whether they are the same."""
    most: Mapping[str, int] = field(default_factory=dict)
    """By unit of the budget, the most that one post of it can take."""


@dataclass(frozen=True)
class Cost:
    """Micro-units of a currency; None where the price or the usage is unknown."""

    micros: int | None = None
    currency: str | None = None


@dataclass(frozen=True)
class JudgeLedger:
    """The judge's questions and calls of one lease; its methods may be called from any thread.

    A transaction locks the job's row and then one question's, never a second question's, so that
    jobs that ask the same cannot wait for each other in a circle.
    """

    book: Book
    _alone: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)
    """Threads would wait at the job's row anyway, each with a connection of the pool."""

    def find(self, at: At, asked: Asked) -> Reply | None:
        """Return the stored answer and note its reuse, or None if it must be asked."""
        with self._commit() as (session, job):
            question = _question(session, job, asked)
            if question is None or question.state != "done":
                return None
            session.add(_call(session, job, at, asked, kind="reuse", outcome="done"))
            _count(job, judge_reuses=1)
            return _reply(question)

    def begin(self, at: At, asked: Asked) -> int:
        """Write the row of a post that is about to be made; return its number among the tries.

        Raises:
            BudgetReached: the most that the post can take does not fit in the job's budget.
        """
        with self._commit() as (session, job):
            job.budget = budgets.reserve(job.budget, asked.most)
            new = session.execute(_new_question(job, asked)).scalar() is not None
            question = _stored(_question(session, job, asked))
            lost = not new and question.state == "inflight" and question.job_id == job.id
            question.state = "inflight"
            question.posts += 1
            question.token = job.lease_token
            call = _call(session, job, at, asked, kind="post", ambiguous=lost)
            session.add(call)
            _count(job, judge_posts=1, extra_paid=int(lost))
            return call.try_

    def done(
        self, at: At, asked: Asked, number: int, reply: Reply, cost: Cost, seconds: float
    ) -> None:
        """Settle a post that was answered."""
        with self._commit() as (session, job):
            question = _stored(_question(session, job, asked))
            question.state, question.reply, question.finish = "done", reply.text, reply.finish
            question.model, question.fingerprint = reply.model, reply.fingerprint
            question.tokens_in, question.tokens_out = reply.tokens_in, reply.tokens_out
            question.cached_tokens_in = reply.cached_tokens_in
            question.cost_micros, question.currency = cost.micros, cost.currency
            question.reason = question.detail = None
            question.settled_at = leases.clock(session)
            _settle_call(session, job, at, number, "done", seconds)
            _count_reply(job, reply, cost)
            job.budget = budgets.settle(job.budget, asked.most, _used(reply, cost, asked.most))
            job.progress_at = question.settled_at

    def failed(
        self,
        at: At,
        asked: Asked,
        number: int,
        reason: str,
        detail: str,
        seconds: float,
        *,
        maybe_paid: bool,
    ) -> None:
        """Settle a post that brought no answer; one that may have been charged counts in full."""
        with self._commit() as (session, job):
            question = _stored(_question(session, job, asked))
            question.state, question.reason, question.detail = "failed", reason, detail
            question.settled_at = leases.clock(session)
            _settle_call(session, job, at, number, reason, seconds)
            _count(job, judge_failures=1)
            used = asked.most if maybe_paid else {}
            job.budget = budgets.settle(job.budget, asked.most, used)
            job.progress_at = question.settled_at  # a judge that fails long is no runner that hangs

    @contextmanager
    def _commit(self) -> Iterator[tuple[Session, Job]]:
        with self._alone, self.book.commit() as (session, job):
            yield session, job


def _question(session: Session, job: Job, asked: Asked) -> JudgeQuestion | None:
    return session.get(
        JudgeQuestion, (job.workspace_id, asked.key, asked.repeat), with_for_update=True
    )


def _stored(question: JudgeQuestion | None) -> JudgeQuestion:
    if question is None:
        raise LookupError("a judge call was settled that was never begun")
    return question


def _new_question(job: Job, asked: Asked) -> ReturningInsert[tuple[str]]:
    """Insert unless it is there: another job may be asking the same at this moment."""
    row = {
        "workspace_id": job.workspace_id,
        "key": asked.key,
        "repeat": asked.repeat,
        "state": "inflight",
        "judge": asked.judge,
        "question_sha256": asked.question_sha256,
        "request": dict(asked.request),
        "job_id": job.id,
        "token": job.lease_token,
        "posts": 0,
    }
    statement = insert(JudgeQuestion).values(row).on_conflict_do_nothing()
    return statement.returning(JudgeQuestion.key)


def _reply(question: JudgeQuestion) -> Reply:
    return Reply(
        text=question.reply or "",
        finish=question.finish or "stop",
        tokens_in=question.tokens_in,
        cached_tokens_in=question.cached_tokens_in,
        tokens_out=question.tokens_out,
        model=question.model,
        fingerprint=question.fingerprint,
    )


def _call(session: Session, job: Job, at: At, asked: Asked, **facts: Any) -> JudgeCall:
    return JudgeCall(
        workspace_id=job.workspace_id,
        job_id=job.id,
        stage=at.stage,
        step=at.step,
        iteration=at.iteration,
        try_=_next_try(session, job, at),
        attempt=job.attempt,
        key=asked.key,
        repeat=asked.repeat,
        **facts,
    )


def _next_try(session: Session, job: Job, at: At) -> int:
    last = session.scalar(
        select(func.max(JudgeCall.try_)).where(
            JudgeCall.job_id == job.id,
            JudgeCall.stage == at.stage,
            JudgeCall.step == at.step,
            JudgeCall.iteration == at.iteration,
        )
    )
    return (last or 0) + 1


def _settle_call(
    session: Session, job: Job, at: At, number: int, outcome: str, seconds: float
) -> None:
    call = session.get_one(JudgeCall, (job.id, at.stage, at.step, at.iteration, number))
    call.outcome, call.seconds = outcome, seconds


def _count(job: Job, **more: int) -> None:
    """Add to the job's usage; a new dict, so that the change is seen."""
    job.usage = job.usage | {name: job.usage.get(name, 0) + n for name, n in more.items() if n}


def _count_reply(job: Job, reply: Reply, cost: Cost) -> None:
    _count(
        job,
        judge_tokens_in=reply.tokens_in or 0,
        judge_cached_tokens_in=reply.cached_tokens_in or 0,
        judge_tokens_out=reply.tokens_out or 0,
        judge_cost_micros=cost.micros or 0,
    )
    if cost.currency is not None:
        job.usage = job.usage | {"currency": cost.currency}


def _used(reply: Reply, cost: Cost, most: Mapping[str, int]) -> dict[str, int]:
    """What a reply took; where the judge does not say, the most that it can have taken."""
    used = {**most}
    if cost.micros is not None:
        used[budgets.COST] = cost.micros
    if reply.tokens_in is not None and reply.tokens_out is not None:
        used[budgets.TOKENS] = reply.tokens_in + reply.tokens_out
    return used
