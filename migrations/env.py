"""Alembic's entry: migrate the database that DATABASE_URL names, or the connection handed in."""

from alembic import context
from sqlalchemy import Connection

from app.core.db import get_engine
from app.core.models import Base
from migrations.scope import is_ours


def migrate(connection: Connection) -> None:
    """Run the migrations in one transaction."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_object=is_ours,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    with get_engine().connect() as opened:
        migrate(opened)
        opened.commit()
