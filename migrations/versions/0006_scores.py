"""What scorers make of texts: a run's responses or a dataset's rows."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "scores",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column(
            "scorer",
            sa.Text(),
            nullable=False,
            comment="`self`: the model of the run, as it was at `update`",
        ),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("update", sa.Integer(), nullable=False),
        sa.Column("value", sa.Float(53), nullable=True, comment="null where it was not finite"),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.func.clock_timestamp(),
            nullable=False,
        ),
        sa.Column("workspace_id", sa.Text(), server_default="ws_default", nullable=False),
        sa.PrimaryKeyConstraint(
            "job_id", "stage", "step", "iteration", "k", "scorer", name=op.f("pk_scores")
        ),
    )
    op.create_index(op.f("ix_scores_job_id_round"), "scores", ["job_id", "round"])


def downgrade() -> None:
    op.drop_index(op.f("ix_scores_job_id_round"), table_name="scores")
    op.drop_table("scores")
