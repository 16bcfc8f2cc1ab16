"""The best checkpoint is marked, and stored bytes have an age."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "checkpoints",
        sa.Column("best", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    # `now()` is the same for all rows that are there, so that they are not written anew.
    op.add_column(
        "artifact_chunks",
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
    )
    op.alter_column("artifact_chunks", "created_at", server_default=sa.text("clock_timestamp()"))


def downgrade() -> None:
    op.drop_column("artifact_chunks", "created_at")
    op.drop_column("checkpoints", "best")
