"""Responses, rankings, agreements, demonstrations and metrics."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_responses()
    create_rankings()
    create_agreements()
    create_demonstrations()
    create_metrics()


def downgrade() -> None:
    op.drop_index(op.f("ix_metrics_job_id_round"), table_name="metrics")
    op.drop_table("metrics")
    op.drop_index(op.f("ix_demonstrations_job_id_round"), table_name="demonstrations")
    op.drop_table("demonstrations")
    op.drop_index(op.f("ix_agreements_job_id_round"), table_name="agreements")
    op.drop_table("agreements")
    op.drop_index(op.f("ix_rankings_job_id_round"), table_name="rankings")
    op.drop_table("rankings")
    op.drop_index(op.f("ix_responses_job_id_round"), table_name="responses")
    op.drop_table("responses")


def create_responses() -> None:
    op.create_table(
        "responses",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("k", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column(
            "update", sa.Integer(), nullable=False, comment="the weights version that sampled it"
        ),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("token_ids", sa.ARRAY(sa.Integer()), nullable=False),
        sa.Column(
            "logprob_sum", sa.Float(precision=53), nullable=False, comment="nats, raw temperature 1"
        ),
        sa.Column("belief", sa.Float(precision=53), nullable=True, comment="token-mean, nats"),
        sa.Column("finish", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column(
            "merged_into", sa.Integer(), nullable=True, comment="an equal response, or -1 if empty"
        ),
        sa.Column("score", sa.Float(precision=53), nullable=True),
        sa.Column("why", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("workspace_id", sa.Text(), server_default="ws_default", nullable=False),
        sa.PrimaryKeyConstraint(
            "job_id", "stage", "step", "iteration", "k", name=op.f("pk_responses")
        ),
    )
    op.create_index(
        op.f("ix_responses_job_id_round"), "responses", ["job_id", "round"], unique=False
    )


def create_rankings() -> None:
    op.create_table(
        "rankings",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("update", sa.Integer(), nullable=True, comment="the weights version it led to"),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("white_box", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("black_box", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("presented", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.Column("raw_reply", sa.Text(), nullable=True),
        sa.Column("why", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("teacher", sa.Text(), nullable=True),
        sa.Column(
            "training",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="texts, groups and target of the loss",
        ),
        sa.Column("loss", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("workspace_id", sa.Text(), server_default="ws_default", nullable=False),
        sa.PrimaryKeyConstraint("job_id", "stage", "step", "iteration", name=op.f("pk_rankings")),
    )
    op.create_index(op.f("ix_rankings_job_id_round"), "rankings", ["job_id", "round"], unique=False)


def create_agreements() -> None:
    op.create_table(
        "agreements",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("update", sa.Integer(), nullable=False),
        sa.Column("agreement", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("candidates", sa.Integer(), nullable=False),
        sa.Column(
            "complete",
            sa.Boolean(),
            nullable=False,
            comment="both rankings were the same; the step ended",
        ),
        sa.Column("kendall_tau", sa.Float(precision=53), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("workspace_id", sa.Text(), server_default="ws_default", nullable=False),
        sa.PrimaryKeyConstraint("job_id", "stage", "step", "iteration", name=op.f("pk_agreements")),
    )
    op.create_index(
        op.f("ix_agreements_job_id_round"), "agreements", ["job_id", "round"], unique=False
    )


def create_demonstrations() -> None:
    op.create_table(
        "demonstrations",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("messages", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("responses", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("answer", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("workspace_id", sa.Text(), server_default="ws_default", nullable=False),
        sa.PrimaryKeyConstraint(
            "job_id", "stage", "step", "iteration", name=op.f("pk_demonstrations")
        ),
    )
    op.create_index(
        op.f("ix_demonstrations_job_id_round"), "demonstrations", ["job_id", "round"], unique=False
    )


def create_metrics() -> None:
    op.create_table(
        "metrics",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("update", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column(
            "value", sa.Float(precision=53), nullable=True, comment="null where it was not finite"
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("workspace_id", sa.Text(), server_default="ws_default", nullable=False),
        sa.PrimaryKeyConstraint("job_id", "name", "update", name=op.f("pk_metrics")),
    )
    op.create_index(op.f("ix_metrics_job_id_round"), "metrics", ["job_id", "round"], unique=False)
