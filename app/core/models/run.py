"""What a run records: one row a response, one a ranking, agreement, demonstration and metric.

Keys begin with `job_id`, leave the attempt out and have no foreign keys, so that the tables can
be partitioned; `round` is what a claim rewinds by.
"""

from typing import Any

from sqlalchemy import ARRAY, Float, Index, Integer
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, Big, CreatedAt, Json, Owned


class Response(Owned, Base):
    """One sampled response."""

    __tablename__ = "responses"
    __table_args__ = (Index(None, "job_id", "round"),)

    job_id: Mapped[str] = mapped_column(primary_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    iteration: Mapped[int] = mapped_column(primary_key=True)
    k: Mapped[int] = mapped_column(primary_key=True)
    round: Mapped[int]
    update: Mapped[int] = mapped_column(comment="the weights version that sampled it")
    text: Mapped[str]
    token_ids: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    logprob_sum: Mapped[float] = mapped_column(Float(53), comment="nats, raw temperature 1")
    belief: Mapped[float | None] = mapped_column(Float(53), comment="token-mean, nats")
    finish: Mapped[str]
    seed: Mapped[Big]
    merged_into: Mapped[int | None] = mapped_column(comment="an equal response, or -1 if empty")
    score: Mapped[float | None] = mapped_column(Float(53))
    why: Mapped[Json | None]
    created_at: Mapped[CreatedAt]


class RankingRow(Owned, Base):
    """Both rankings of one iteration, the judge's reply and what entered the loss."""

    __tablename__ = "rankings"
    __table_args__ = (Index(None, "job_id", "round"),)

    job_id: Mapped[str] = mapped_column(primary_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    iteration: Mapped[int] = mapped_column(primary_key=True)
    round: Mapped[int]
    update: Mapped[int | None] = mapped_column(comment="the weights version it led to")
    outcome: Mapped[str]
    white_box: Mapped[list[Any]]
    black_box: Mapped[list[Any] | None]
    presented: Mapped[list[Any]]
    orders: Mapped[list[Any] | None] = mapped_column(
        comment="every presentation order with its verdict, where there were several"
    )
    fault: Mapped[str | None]
    raw_reply: Mapped[str | None]
    why: Mapped[Json | None]
    teacher: Mapped[str | None]
    training: Mapped[Json | None] = mapped_column(comment="texts, groups and target of the loss")
    loss: Mapped[Json | None]
    created_at: Mapped[CreatedAt]

    @property
    def first_ranked(self) -> Json:
        """What was `presented` and its `black_box` in the first order that the judge ranked."""
        whole = {"presented": self.presented, "black_box": self.black_box}
        return next((one for one in self.orders or () if one["black_box"]), whole)


class AgreementRow(Owned, Base):
    """What both rankings agree on, as response indices, best first."""

    __tablename__ = "agreements"
    __table_args__ = (Index(None, "job_id", "round"),)

    job_id: Mapped[str] = mapped_column(primary_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    iteration: Mapped[int] = mapped_column(primary_key=True)
    round: Mapped[int]
    update: Mapped[int]
    agreement: Mapped[list[Any]]
    length: Mapped[int]
    candidates: Mapped[int]
    complete: Mapped[bool] = mapped_column(comment="both rankings were the same; the step ended")
    kendall_tau: Mapped[float | None] = mapped_column(Float(53))
    created_at: Mapped[CreatedAt]


class DemonstrationRow(Owned, Base):
    """A dynamic demonstration, as the judge reads it from the next iteration on."""

    __tablename__ = "demonstrations"
    __table_args__ = (Index(None, "job_id", "round"),)

    job_id: Mapped[str] = mapped_column(primary_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    iteration: Mapped[int] = mapped_column(primary_key=True)
    round: Mapped[int]
    origin: Mapped[str]
    messages: Mapped[list[Any]]
    responses: Mapped[list[Any]]
    answer: Mapped[list[Any]]
    created_at: Mapped[CreatedAt]


class Metric(Owned, Base):
    """One point of a series; its axis is the weights version."""

    __tablename__ = "metrics"
    __table_args__ = (Index(None, "job_id", "round"),)

    job_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    update: Mapped[int] = mapped_column(primary_key=True)
    round: Mapped[int]
    value: Mapped[float | None] = mapped_column(Float(53), comment="null where it was not finite")
    created_at: Mapped[CreatedAt]


class ScoreRow(Owned, Base):
    """What a scorer makes of one text: a response of the run, or one of the dataset's row."""

    __tablename__ = "scores"
    __table_args__ = (Index(None, "job_id", "round"),)

    job_id: Mapped[str] = mapped_column(primary_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    iteration: Mapped[int] = mapped_column(primary_key=True)
    k: Mapped[int] = mapped_column(primary_key=True)
    scorer: Mapped[str] = mapped_column(
        primary_key=True, comment="`self`: the model of the run, as it was at `update`"
    )
    round: Mapped[int]
    update: Mapped[int]
    value: Mapped[float | None] = mapped_column(Float(53), comment="null where it was not finite")
    created_at: Mapped[CreatedAt]


class ComparisonRow(Owned, Base):
    """One look of a judge at two contestants' answers to one prompt."""

    __tablename__ = "comparisons"
    __table_args__ = (Index(None, "job_id", "round"),)

    job_id: Mapped[str] = mapped_column(primary_key=True)
    stage: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    iteration: Mapped[int] = mapped_column(
        primary_key=True, comment="twice the pair's place, and one more for the swapped order"
    )
    round: Mapped[int]
    left: Mapped[int] = mapped_column(comment="a contestant's place")
    right: Mapped[int]
    swapped: Mapped[bool] = mapped_column(comment="the right one was shown first")
    verdict: Mapped[str] = mapped_column(comment="`left`, `right`, `tie` or `invalid`")
    scores: Mapped[list[Any] | None] = mapped_column(comment="of left and right, from 1 to 10")
    fault: Mapped[str | None]
    raw_reply: Mapped[str | None]
    why: Mapped[Json | None]
    created_at: Mapped[CreatedAt]


REWOUND = (Response, RankingRow, AgreementRow, DemonstrationRow, Metric, ScoreRow, ComparisonRow)
"""The tables whose rows a claim deletes when they are later than its checkpoint."""
