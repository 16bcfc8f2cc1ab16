"""Datasets, their rows and issues."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_datasets()
    create_dataset_rows()
    create_dataset_issues()


def downgrade() -> None:
    op.drop_table("dataset_issues")
    op.drop_table("dataset_rows")
    op.drop_index(op.f("ix_datasets_workspace_id_created_at_id"), table_name="datasets")
    op.drop_table("datasets")


def create_datasets() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("on_error", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("line_count", sa.Integer(), nullable=False),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("issue_count", sa.Integer(), nullable=False),
        sa.Column("issue_counts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("subset_counts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("workspace_id", sa.Text(), server_default="ws_default", nullable=False),
        sa.CheckConstraint("state IN ('ready', 'invalid')", name=op.f("ck_datasets_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint(
            "workspace_id",
            "kind",
            "on_error",
            "sha256",
            name=op.f("uq_datasets_workspace_id_kind_on_error_sha256"),
        ),
    )
    op.create_index(
        op.f("ix_datasets_workspace_id_created_at_id"),
        "datasets",
        ["workspace_id", "created_at", "id"],
        unique=False,
    )


def create_dataset_rows() -> None:
    op.create_table(
        "dataset_rows",
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("row_id", sa.Text(), nullable=True),
        sa.Column("subset", sa.Text(), nullable=True),
        sa.Column("split", sa.Text(), nullable=True),
        sa.Column(
            "extra",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="the user's own metadata of the row",
        ),
        sa.Column("messages", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("responses", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "ranking",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="groups of responses, best to worst",
        ),
        sa.Column("scores", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("workspace_id", sa.Text(), server_default="ws_default", nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["datasets.id"],
            name=op.f("fk_dataset_rows_dataset_id_datasets"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("dataset_id", "position", name=op.f("pk_dataset_rows")),
    )


def create_dataset_issues() -> None:
    op.create_table(
        "dataset_issues",
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("pointer", sa.Text(), nullable=True),
        sa.Column(
            "severity",
            sa.Text(),
            nullable=False,
            comment="`error` loses the row, `warning` keeps it",
        ),
        sa.Column("excerpt", sa.Text(), nullable=True),
        sa.Column("workspace_id", sa.Text(), server_default="ws_default", nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["datasets.id"],
            name=op.f("fk_dataset_issues_dataset_id_datasets"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("dataset_id", "seq", name=op.f("pk_dataset_issues")),
    )
