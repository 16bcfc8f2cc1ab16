"""The migrations make exactly the tables that the models name, from nothing and back."""

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect

from app.core.migrations import SCRIPTS, at_head, migrate
from app.core.models import Base
from app.core.queue import celery_app, prepare_broker
from app.core.settings import Settings
from migrations.scope import is_ours


@pytest.mark.filterwarnings("ignore:The ``noload`` loader")  # kombu's own models
def test_models_and_migrations_agree_with_the_brokers_tables_left_out(
    engine: Engine, database_url: str
) -> None:
    settings = Settings(database_url=database_url)
    prepare_broker(celery_app(settings), engine)
    assert "kombu_message" in inspect(engine).get_table_names()
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_object": is_ours, "compare_type": True}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_every_migration_goes_down_and_up_again(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    assert not at_head(engine)
    migrate(engine)
    assert at_head(engine)


def test_every_user_table_names_its_workspace() -> None:
    without = {
        table.name for table in Base.metadata.sorted_tables if "workspace_id" not in table.columns
    }
    assert without == {"artifact_chunks", "judge_limits", "workers"}
