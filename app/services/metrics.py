"""A run's series, bounded: long ones are thinned by an even stride that keeps both ends."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import CTE, Select, func, or_, select
from sqlalchemy.orm import Session

from app.core.models import Job, Metric

MEANING: dict[str, tuple[str, str | None]] = {
    "loss/total": ("nats", "down"),
    "loss/rank": ("nats", "down"),
    "loss/sft": ("nats", "down"),
    "loss/sft_share": ("share", None),
    "gradient/norm": ("norm", None),
    "optimizer/lr": ("rate", None),
    "response/tokens": ("tokens", None),
    "response/stopped": ("share", "up"),
    "ranking/accuracy": ("share", "up"),
    "agreement/length": ("responses", "up"),
    "agreement/share": ("share", "up"),
    "judge/score": ("score", "up"),
    "judge/position_consistency": ("share", "up"),
    "health/length": ("times the start", None),
    "health/equal": ("share", "down"),
    "health/diversity": ("times the start", "up"),
    "health/phrase": ("share", "down"),
    "health/kl": ("nats/token", None),
    "health/skipped": ("share", "down"),
    "step/iterations": ("iterations", "down"),
    "speed/samples": ("samples/s", "up"),
    "speed/generated_tokens": ("tokens/s", "up"),
    "speed/trained_tokens": ("tokens/s", "up"),
    "speed/efficiency": ("share", "up"),
    "time/sampling": ("share", None),
    "time/judging": ("share", "down"),
    "time/learning": ("share", None),
    "time/idle": ("share", "down"),
    "lanes/busy": ("prompts", "up"),
    "memory/peak": ("bytes", "down"),
}
"""Unit and better direction of the series that runs write."""


@dataclass(frozen=True)
class Span:
    """Which points are wanted, at most `max_points` of every series."""

    names: Sequence[str] = ()
    from_update: int | None = None
    to_update: int | None = None
    max_points: int = 1000


@dataclass
class Series:
    """One series in columns; `value` is None where it was not finite."""

    name: str
    total_points: int
    non_finite: int
    update: list[int] = field(default_factory=list)
    at: list[datetime] = field(default_factory=list)
    value: list[float | None] = field(default_factory=list)


def read(session: Session, job: Job, span: Span) -> list[Series]:
    """Return the series by name; at most `max_points` points each, first and last among them."""
    found: dict[str, Series] = {}
    for name, total, gaps, update, moment, value in session.execute(_thinned(job, span)):
        series = found.setdefault(name, Series(name, total, gaps))
        series.update.append(update)
        series.at.append(moment)
        series.value.append(value)
    return list(found.values())


def _numbered(job: Job, span: Span) -> CTE:
    name = Metric.name
    query = select(
        name,
        Metric.update,
        Metric.created_at,
        Metric.value,
        (func.row_number().over(partition_by=name, order_by=Metric.update) - 1).label("place"),
        func.count().over(partition_by=name).label("total"),
        func.count().filter(Metric.value.is_(None)).over(partition_by=name).label("gaps"),
    ).where(Metric.job_id == job.id)
    if span.names:
        query = query.where(Metric.name.in_(span.names))
    if span.from_update is not None:
        query = query.where(Metric.update >= span.from_update)
    if span.to_update is not None:
        query = query.where(Metric.update <= span.to_update)
    return query.cte()


def _thinned(job: Job, span: Span) -> Select[str, int, int, int, datetime, float | None]:
    rows = _numbered(job, span).c
    last = rows.total - 1
    # With this stride the kept places, the last one added, are never more than max_points.
    stride = func.greatest(1, func.div(last + span.max_points - 2, span.max_points - 1))
    kept = or_(func.mod(rows.place, stride) == 0, rows.place == last)
    columns = (rows.name, rows.total, rows.gaps, rows.update, rows.created_at, rows.value)
    return select(*columns).where(kept).order_by(rows.name, rows.place)
