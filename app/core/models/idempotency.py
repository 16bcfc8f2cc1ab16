"""Requests that named themselves, with what they were answered."""

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import DEFAULT_WORKSPACE, Base, CreatedAt


class AnsweredRequest(Base):
    """A POST with an Idempotency-Key, stored in the transaction of what it did."""

    __tablename__ = "answered_requests"
    __table_args__ = (Index(None, "created_at"),)

    workspace_id: Mapped[str] = mapped_column(primary_key=True, server_default=DEFAULT_WORKSPACE)
    path: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(comment="of all that was asked")
    status: Mapped[int]
    location: Mapped[str | None]
    body: Mapped[str]
    created_at: Mapped[CreatedAt]
