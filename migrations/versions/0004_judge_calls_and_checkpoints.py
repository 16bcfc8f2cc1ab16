"""The judge ledger, checkpoints and their bytes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_judge_questions()
    create_judge_calls()
    create_checkpoints()
    create_artifact_chunks()


def downgrade() -> None:
    op.drop_table("artifact_chunks")
    op.drop_index(op.f("ix_checkpoints_job_id_update"), table_name="checkpoints")
    op.drop_table("checkpoints")
    op.drop_index(op.f("ix_judge_calls_workspace_id_key_repeat"), table_name="judge_calls")
    op.drop_table("judge_calls")
    op.drop_table("judge_questions")


def create_judge_questions() -> None:
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


def create_judge_calls() -> None:
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


def create_checkpoints() -> None:
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


def create_artifact_chunks() -> None:
    op.create_table(
        "artifact_chunks",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key", "seq", name=op.f("pk_artifact_chunks")),
    )
    # weights do not compress; trying costs more than storing them
    op.execute("ALTER TABLE artifact_chunks ALTER COLUMN data SET STORAGE EXTERNAL")
