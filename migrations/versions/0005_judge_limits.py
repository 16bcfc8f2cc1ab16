"""Requests and tokens a minute of a judge's credential, shared by all workers."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "judge_limits",
        sa.Column(
            "credential",
            sa.Text(),
            nullable=False,
            comment="SHA-256 of base_url and credential_env",
        ),
        sa.Column(
            "requests_clear_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when all requests that were taken have flowed in again",
        ),
        sa.Column(
            "tokens_clear_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="the same of tokens",
        ),
        sa.Column(
            "blocked_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="by a Retry-After",
        ),
        sa.PrimaryKeyConstraint("credential", name=op.f("pk_judge_limits")),
    )


def downgrade() -> None:
    op.drop_table("judge_limits")
