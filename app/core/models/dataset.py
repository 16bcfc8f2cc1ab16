"""Uploaded data: a dataset is a version of some bytes, its rows and everything wrong with them."""

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, Big, CreatedAt, Json, Owned


class Dataset(Owned, Base):
    """Unique by workspace, kind, error policy and content."""

    __tablename__ = "datasets"
    __table_args__ = (
        UniqueConstraint("workspace_id", "kind", "on_error", "sha256"),
        Index(None, "workspace_id", "created_at", "id"),
        CheckConstraint("state IN ('ready', 'invalid')", name="state"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str]
    on_error: Mapped[str]
    state: Mapped[str]
    format: Mapped[str]
    sha256: Mapped[str]
    bytes: Mapped[Big]
    line_count: Mapped[int]
    row_count: Mapped[int]
    issue_count: Mapped[int]
    issue_counts: Mapped[Json]
    subset_counts: Mapped[Json]
    created_at: Mapped[CreatedAt]


class DatasetRow(Owned, Base):
    """One row as it will be used, with where it came from."""

    __tablename__ = "dataset_rows"

    dataset_id: Mapped[str] = mapped_column(
        ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True)
    line: Mapped[int]
    row_id: Mapped[str | None]
    subset: Mapped[str | None]
    split: Mapped[str | None]
    extra: Mapped[Json] = mapped_column(comment="the user's own metadata of the row")
    messages: Mapped[list[Any]]
    responses: Mapped[list[Any] | None]
    ranking: Mapped[list[Any] | None] = mapped_column(comment="groups of responses, best to worst")
    scores: Mapped[list[Any] | None]


class DatasetIssue(Owned, Base):
    """One line that is not as it should be."""

    __tablename__ = "dataset_issues"

    dataset_id: Mapped[str] = mapped_column(
        ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True
    )
    seq: Mapped[int] = mapped_column(primary_key=True)
    line: Mapped[int]
    code: Mapped[str]
    message: Mapped[str]
    pointer: Mapped[str | None]
    severity: Mapped[str] = mapped_column(comment="`error` loses the row, `warning` keeps it")
    excerpt: Mapped[str | None]
