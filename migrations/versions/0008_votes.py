"""What people say of two contestants' answers."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "votes",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("pair", sa.Integer(), nullable=False, comment="its place among the job's pairs"),
        sa.Column("rater", sa.Text(), nullable=False),
        sa.Column(
            "swapped", sa.Boolean(), nullable=False, comment="the right answer was shown first"
        ),
        sa.Column("verdict", sa.Text(), nullable=False, comment="`left`, `right` or `tie`"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.func.clock_timestamp(),
            nullable=False,
        ),
        sa.Column("workspace_id", sa.Text(), server_default="ws_default", nullable=False),
        sa.PrimaryKeyConstraint("job_id", "step", "pair", "rater", name=op.f("pk_votes")),
    )
    op.create_index(op.f("ix_votes_job_id_rater"), "votes", ["job_id", "rater"])


def downgrade() -> None:
    op.drop_index(op.f("ix_votes_job_id_rater"), table_name="votes")
    op.drop_table("votes")
