"""the schema from the start."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
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
    op.create_table(
        "artifact_chunks",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key", "seq", name=op.f("pk_artifact_chunks")),
    )
    # weights do not compress; trying costs more than storing them
    op.execute("ALTER TABLE artifact_chunks ALTER COLUMN data SET STORAGE EXTERNAL")
    op.create_table(
        "checkpoints",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("update", sa.Integer(), nullable=False),
        sa.Column("steps_done", sa.Integer(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column(
            "manifest",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="files: name, bytes, sha256, role (weights, training_state, card), form",
        ),
        sa.Column("manifest_sha256", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("workspace_id", sa.Text(), server_default="ws_default", nullable=False),
        sa.CheckConstraint("state IN ('ready', 'corrupt')", name=op.f("ck_checkpoints_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoints")),
        sa.UniqueConstraint(
            "workspace_id", "job_id", "round", name=op.f("uq_checkpoints_workspace_id_job_id_round")
        ),
    )
    op.create_index(
        op.f("ix_checkpoints_job_id_update"), "checkpoints", ["job_id", "update"], unique=False
    )
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
    op.create_table(
        "job_events",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("workspace_id", sa.Text(), server_default="ws_default", nullable=False),
        sa.PrimaryKeyConstraint("job_id", "seq", name=op.f("pk_job_events")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=True),
        sa.Column("spec", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("resolved", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column(
            "run_after",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "lease_token", sa.BigInteger(), nullable=False, comment="the fencing token; only grows"
        ),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("progress_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.Column("stalls", sa.SmallInteger(), nullable=False),
        sa.Column("failures", sa.SmallInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("nudged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("round", sa.Integer(), nullable=False, comment="the last round that ended"),
        sa.Column("update", sa.Integer(), nullable=False, comment="the weights version"),
        sa.Column("steps_total", sa.Integer(), nullable=False),
        sa.Column("progress", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("usage", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("event_seq", sa.BigInteger(), nullable=False),
        sa.Column("result_checkpoint_id", sa.Text(), nullable=True),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("budget_micros", sa.BigInteger(), nullable=True),
        sa.Column("spent_micros", sa.BigInteger(), nullable=False),
        sa.Column("reserved_micros", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("workspace_id", sa.Text(), server_default="ws_default", nullable=False),
        sa.CheckConstraint(
            "(state IN ('running', 'pausing', 'cancelling')) = (lease_owner IS NOT NULL AND lease_expires_at IS NOT NULL)",
            name=op.f("ck_jobs_lease"),
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'pausing', 'paused', 'cancelling', 'cancelled', 'succeeded', 'failed')",
            name=op.f("ck_jobs_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index(
        "ix_jobs_leased",
        "jobs",
        ["lease_expires_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('running', 'pausing', 'cancelling')"),
    )
    op.create_index(
        "ix_jobs_runnable",
        "jobs",
        ["priority", "run_after", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        op.f("ix_jobs_workspace_id_created_at_id"),
        "jobs",
        ["workspace_id", "created_at", "id"],
        unique=False,
    )
    op.create_table(
        "judge_calls",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("iteration", sa.Integer(), nullable=False),
        sa.Column("try", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("repeat", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="`post` or `reuse`"),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column(
            "ambiguous",
            sa.Boolean(),
            nullable=False,
            comment="a repeat of a call that was in flight at a death",
        ),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("workspace_id", sa.Text(), server_default="ws_default", nullable=False),
        sa.PrimaryKeyConstraint(
            "job_id", "stage", "step", "iteration", "try", name=op.f("pk_judge_calls")
        ),
    )
    op.create_index(
        op.f("ix_judge_calls_workspace_id_key_repeat"),
        "judge_calls",
        ["workspace_id", "key", "repeat"],
        unique=False,
    )
    op.create_table(
        "judge_questions",
        sa.Column("workspace_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("repeat", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, comment="`inflight`, `done` or `failed`"),
        sa.Column("judge", sa.Text(), nullable=False),
        sa.Column(
            "question_sha256",
            sa.Text(),
            nullable=False,
            comment="of the question alone, without the judge",
        ),
        sa.Column("request", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.Column("finish", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("model", sa.Text(), nullable=True, comment="as the endpoint named it"),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("tokens_in", sa.Integer(), nullable=True),
        sa.Column("cached_tokens_in", sa.Integer(), nullable=True),
        sa.Column("tokens_out", sa.Integer(), nullable=True),
        sa.Column(
            "cost_micros", sa.BigInteger(), nullable=True, comment="null where the price is unknown"
        ),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("posts", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False, comment="who asked first"),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("workspace_id", "key", "repeat", name=op.f("pk_judge_questions")),
    )
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
    op.create_table(
        "workers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("draining", sa.Boolean(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("from_checkpoint_id", sa.Text(), nullable=True),
        sa.Column("from_round", sa.Integer(), nullable=False),
        sa.Column("environment", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("workspace_id", sa.Text(), server_default="ws_default", nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_attempts_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "attempt", name=op.f("pk_attempts")),
    )
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
    op.create_table(
        "job_prompts",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("workspace_id", sa.Text(), server_default="ws_default", nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_job_prompts_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "stage", "step", name=op.f("pk_job_prompts")),
    )


def downgrade() -> None:
    op.drop_table("job_prompts")
    op.drop_table("dataset_rows")
    op.drop_table("dataset_issues")
    op.drop_table("attempts")
    op.drop_table("workers")
    op.drop_index(op.f("ix_responses_job_id_round"), table_name="responses")
    op.drop_table("responses")
    op.drop_index(op.f("ix_rankings_job_id_round"), table_name="rankings")
    op.drop_table("rankings")
    op.drop_index(op.f("ix_metrics_job_id_round"), table_name="metrics")
    op.drop_table("metrics")
    op.drop_table("judge_questions")
    op.drop_index(op.f("ix_judge_calls_workspace_id_key_repeat"), table_name="judge_calls")
    op.drop_table("judge_calls")
    op.drop_index(op.f("ix_jobs_workspace_id_created_at_id"), table_name="jobs")
    op.drop_index(
        "ix_jobs_runnable", table_name="jobs", postgresql_where=sa.text("state = 'queued'")
    )
    op.drop_index(
        "ix_jobs_leased",
        table_name="jobs",
        postgresql_where=sa.text("state IN ('running', 'pausing', 'cancelling')"),
    )
    op.drop_table("jobs")
    op.drop_table("job_events")
    op.drop_index(op.f("ix_demonstrations_job_id_round"), table_name="demonstrations")
    op.drop_table("demonstrations")
    op.drop_index(op.f("ix_datasets_workspace_id_created_at_id"), table_name="datasets")
    op.drop_table("datasets")
    op.drop_index(op.f("ix_checkpoints_job_id_update"), table_name="checkpoints")
    op.drop_table("checkpoints")
    op.drop_table("artifact_chunks")
    op.drop_index(op.f("ix_agreements_job_id_round"), table_name="agreements")
    op.drop_table("agreements")
