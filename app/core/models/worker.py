"""Processes that run jobs, as they report themselves."""

from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, Json, Moment


class WorkerRow(Base):
    """One worker process; `seen_at` is its last sign of life."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    kind: Mapped[str]
    version: Mapped[str]
    facts: Mapped[Json]
    draining: Mapped[bool] = mapped_column(default=False)
    started_at: Mapped[Moment]
    seen_at: Mapped[Moment]
