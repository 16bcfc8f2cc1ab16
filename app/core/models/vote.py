"""What people say of two contestants' answers."""

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, CreatedAt, Owned


class Vote(Owned, Base):
    """One person's vote on one pair of answers; it never changes."""

    __tablename__ = "votes"
    __table_args__ = (Index(None, "job_id", "rater"),)

    job_id: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    pair: Mapped[int] = mapped_column(primary_key=True, comment="its place among the job's pairs")
    rater: Mapped[str] = mapped_column(primary_key=True)
    swapped: Mapped[bool] = mapped_column(comment="the right answer was shown first")
    verdict: Mapped[str] = mapped_column(comment="`left`, `right` or `tie`")
    created_at: Mapped[CreatedAt]
