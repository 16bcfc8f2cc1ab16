"""What a job asked of its judge and what that took, by stage of the run."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from app.core.models import Job, JudgeCall, JudgeQuestion, RankingRow

IN_FLIGHT = "in_flight"
TOKENS = ("tokens_in", "cached_tokens_in", "tokens_out", "cost_micros")


@dataclass
class StageUsage:
    """One stage; tokens and cost are of the replies to its posts, as far as the judge told them."""

    stage: str
    posts: Counter[str] = field(default_factory=Counter)
    """By outcome: `done`, the reason of a failure, or `in_flight`."""
    reuses: int = 0
    extra_paid: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    tokens_in: int = 0
    cached_tokens_in: int = 0
    tokens_out: int = 0
    cost_micros: int = 0
    currency: str | None = None


def usage_by_stage(session: Session, job: Job) -> list[StageUsage]:
    """Count calls, faults, tokens and money of every stage in which the judge was asked."""
    found: dict[str, StageUsage] = {}
    for stage, kind, outcome, ambiguous, count in session.execute(_calls(job)):
        usage = found.setdefault(stage, StageUsage(stage))
        if kind == "reuse":
            usage.reuses += count
            continue
        usage.posts[outcome or IN_FLIGHT] += count
        usage.extra_paid += count if ambiguous else 0
    for row in session.execute(_replies(job)):
        usage = found[row.stage]
        usage.currency = row.currency
        for name in TOKENS:
            setattr(usage, name, int(getattr(row, name) or 0))
    for stage, fault, count in session.execute(_faults(job)):
        found.setdefault(stage, StageUsage(stage)).faults[fault] = count
    return [found[stage] for stage in sorted(found)]


def _calls(job: Job) -> Any:
    columns = (JudgeCall.stage, JudgeCall.kind, JudgeCall.outcome, JudgeCall.ambiguous)
    query = select(*columns, func.count()).where(JudgeCall.job_id == job.id)
    return query.group_by(*columns)


def _replies(job: Job) -> Any:
    same = (
        JudgeQuestion.workspace_id == JudgeCall.workspace_id,
        JudgeQuestion.key == JudgeCall.key,
        JudgeQuestion.repeat == JudgeCall.repeat,
    )
    sums = (func.sum(getattr(JudgeQuestion, name)).label(name) for name in TOKENS)
    currency = func.max(JudgeQuestion.currency).label("currency")
    answered = (JudgeCall.kind == "post", JudgeCall.outcome == "done")
    query = select(JudgeCall.stage, currency, *sums).join(JudgeQuestion, and_(*same))
    return query.where(JudgeCall.job_id == job.id, *answered).group_by(JudgeCall.stage)


def _faults(job: Job) -> Any:
    columns = (RankingRow.stage, RankingRow.fault)
    query = select(*columns, func.count()).where(RankingRow.job_id == job.id)
    return query.where(RankingRow.fault.is_not(None)).group_by(*columns)
