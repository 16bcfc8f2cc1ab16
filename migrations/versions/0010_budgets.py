"""Caps on what a job may use, in every unit, in place of money alone; deadlines are found."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

NOTHING = """
UPDATE jobs SET budget = (
    SELECT jsonb_object_agg(unit, '{"cap": null, "spent": 0, "reserved": 0}'::jsonb)
    FROM unnest(ARRAY['judge_cost_micros', 'judge_tokens', 'judge_calls', 'compute_micros']) unit
)
"""
MONEY = ("budget_micros", "spent_micros", "reserved_micros")


def upgrade() -> None:
    op.add_column(
        "jobs",
        sa.Column("budget", JSONB(), nullable=True, comment="by unit: cap, spent, reserved"),
    )
    op.execute(NOTHING)
    op.alter_column("jobs", "budget", nullable=False)
    for name in MONEY:
        op.drop_column("jobs", name)
    op.create_index(
        "ix_jobs_deadline",
        "jobs",
        ["deadline_at"],
        postgresql_where=sa.text("deadline_at IS NOT NULL AND finished_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_jobs_deadline", table_name="jobs")
    op.add_column("jobs", sa.Column("budget_micros", sa.BigInteger(), nullable=True))
    for name in MONEY[1:]:
        op.add_column("jobs", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
        op.alter_column("jobs", name, server_default=None)
    op.drop_column("jobs", "budget")
