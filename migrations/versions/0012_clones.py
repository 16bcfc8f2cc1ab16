"""A job that was cloned says from which."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "jobs",
        sa.Column(
            "cloned_from",
            sa.Text(),
            nullable=True,
            comment="the job whose spec it was made of",
        ),
    )


def downgrade() -> None:
    op.drop_column("jobs", "cloned_from")
