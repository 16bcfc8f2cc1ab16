"""Jobs are found again by what decides their result, and by the experiment that made them."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "jobs",
        sa.Column(
            "config_sha256",
            sa.Text(),
            nullable=True,
            comment="of what decides the result; equal configs give equal results",
        ),
    )
    op.create_index(
        op.f("ix_jobs_workspace_id_config_sha256"), "jobs", ["workspace_id", "config_sha256"]
    )
    op.create_index(op.f("ix_jobs_parent_id"), "jobs", ["parent_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_jobs_parent_id"), table_name="jobs")
    op.drop_index(op.f("ix_jobs_workspace_id_config_sha256"), table_name="jobs")
    op.drop_column("jobs", "config_sha256")
