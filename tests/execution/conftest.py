"""A stage for the supervisor on this test's own database."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.execution.stage import Stage


@pytest.fixture
def stage(engine: Engine, database_url: str, tmp_path: Path) -> Stage:
    return Stage(engine, database_url, tmp_path)
