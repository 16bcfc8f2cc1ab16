from sqlalchemy import Engine, text

from app.core.migrations import at_head


def test_a_test_gets_a_migrated_database_of_its_own(engine: Engine) -> None:
    assert at_head(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM jobs")) == 0
