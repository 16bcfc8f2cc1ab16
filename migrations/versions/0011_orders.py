"""A judge may be asked in several presentation orders; each one's verdict is kept."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "rankings",
        sa.Column(
            "orders",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="every presentation order with its verdict, where there were several",
        ),
    )


def downgrade() -> None:
    op.drop_column("rankings", "orders")
