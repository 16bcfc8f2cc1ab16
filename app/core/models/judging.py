"""The judge ledger: what was asked and paid once, every post and reuse of it; and its limits."""

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, Big, CreatedAt, Json, Moment, Owned


class JudgeQuestion(Owned, Base):
    """One thing asked, keyed by the hash of all of it; written before the call."""

    __tablename__ = "judge_questions"

    workspace_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    repeat: Mapped[int] = mapped_column(primary_key=True, default=0)
    state: Mapped[str] = mapped_column(comment="`inflight`, `done` or `failed`")
    judge: Mapped[str]
    question_sha256: Mapped[str] = mapped_column(comment="of the question alone, without the judge")
    request: Mapped[Json]
    reply: Mapped[str | None]
    finish: Mapped[str | None]
    reason: Mapped[str | None]
    detail: Mapped[str | None]
    model: Mapped[str | None] = mapped_column(comment="as the endpoint named it")
    fingerprint: Mapped[str | None]
    tokens_in: Mapped[int | None]
    cached_tokens_in: Mapped[int | None]
    tokens_out: Mapped[int | None]
    cost_micros: Mapped[Big | None] = mapped_column(comment="null where the price is unknown")
    currency: Mapped[str | None]
    posts: Mapped[int] = mapped_column(default=0)
    job_id: Mapped[str] = mapped_column(comment="who asked first")
    token: Mapped[Big]
    created_at: Mapped[CreatedAt]
    settled_at: Mapped[Moment | None]


class JudgeCall(Owned, Base):
    """A post to the judge, or the reuse of an answer; append-only."""

    __tablename__ = "judge_calls"
    __table_args__ = (Index(None, "workspace_id", "key", "repeat"),)

    job_id: Mapped[str] = mapped_column(primary_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    iteration: Mapped[int] = mapped_column(primary_key=True)
    try_: Mapped[int] = mapped_column("try", primary_key=True)
    attempt: Mapped[int]
    key: Mapped[str]
    repeat: Mapped[int] = mapped_column(default=0)
    kind: Mapped[str] = mapped_column(comment="`post` or `reuse`")
    outcome: Mapped[str | None]
    ambiguous: Mapped[bool] = mapped_column(
        default=False, comment="a repeat of a call that was in flight at a death"
    )
    seconds: Mapped[float | None]
    created_at: Mapped[CreatedAt]


class JudgeLimit(Base):
    """What all workers took of a credential's limits a minute; it belongs to the operator."""

    __tablename__ = "judge_limits"

    credential: Mapped[str] = mapped_column(
        primary_key=True, comment="SHA-256 of base_url and credential_env"
    )
    requests_clear_at: Mapped[Moment | None] = mapped_column(
        comment="when all requests that were taken have flowed in again"
    )
    tokens_clear_at: Mapped[Moment | None] = mapped_column(comment="the same of tokens")
    blocked_until: Mapped[Moment | None] = mapped_column(comment="by a Retry-After")
