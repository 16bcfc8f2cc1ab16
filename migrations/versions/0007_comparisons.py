"""What a judge says of two contestants' answers."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    json = postgresql.JSONB(astext_type=sa.Text())
    op.create_table(
        "comparisons",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column(
            "iteration",
            sa.Integer(),
            nullable=False,
            comment="twice the pair's place, and one more for the swapped order",
        ),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("left", sa.Integer(), nullable=False, comment="a contestant's place"),
        sa.Column("right", sa.Integer(), nullable=False),
        sa.Column("swapped", sa.Boolean(), nullable=False, comment="the right one was shown first"),
        sa.Column(
            "verdict",
            sa.Text(),
            nullable=False,
            comment="`left`, `right`, `tie` or `invalid`",
        ),
        sa.Column("scores", json, nullable=True, comment="of left and right, from 1 to 10"),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.Column("raw_reply", sa.Text(), nullable=True),
        sa.Column("why", json, nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.func.clock_timestamp(),
            nullable=False,
        ),
        sa.Column("workspace_id", sa.Text(), server_default="ws_default", nullable=False),
        sa.PrimaryKeyConstraint(
            "job_id", "stage", "step", "iteration", name=op.f("pk_comparisons")
        ),
    )
    op.create_index(op.f("ix_comparisons_job_id_round"), "comparisons", ["job_id", "round"])


def downgrade() -> None:
    op.drop_index(op.f("ix_comparisons_job_id_round"), table_name="comparisons")
    op.drop_table("comparisons")
