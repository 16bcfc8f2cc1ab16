"""Checkpoints: a row and its manifest make the bytes visible."""

from sqlalchemy import CheckConstraint, Index, LargeBinary, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, Big, CreatedAt, Json, Owned


class Checkpoint(Owned, Base):
    """A whole checkpoint; it exists for users once this row is committed."""

    __tablename__ = "checkpoints"
    __table_args__ = (
        UniqueConstraint("workspace_id", "job_id", "round"),
        Index(None, "job_id", "update"),
        CheckConstraint("state IN ('ready', 'corrupt')", name="state"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str]
    round: Mapped[int]
    update: Mapped[int]
    steps_done: Mapped[int]
    token: Mapped[Big]
    attempt: Mapped[int]
    state: Mapped[str] = mapped_column(default="ready")
    final: Mapped[bool]
    best: Mapped[bool] = mapped_column(server_default=false())
    manifest: Mapped[Json] = mapped_column(
        comment="files: name, bytes, sha256, role (weights, training_state, card), form"
    )
    manifest_sha256: Mapped[str]
    bytes: Mapped[Big]
    metrics: Mapped[Json]
    created_at: Mapped[CreatedAt]


class ArtifactChunk(Base):
    """A piece of a stored file, where the artifact store is the database."""

    __tablename__ = "artifact_chunks"

    key: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[CreatedAt]
