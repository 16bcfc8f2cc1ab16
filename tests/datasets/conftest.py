"""The application on a real database, with small limits."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.core.settings import Settings
from app.main import create_app


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(database_url=database_url, max_upload_bytes=1 << 20, max_line_bytes=1 << 16)


@pytest.fixture
def client(settings: Settings, engine: Engine) -> Iterator[TestClient]:
    """A client that sees what a user sees, a 500 as well."""
    with TestClient(create_app(settings, engine), raise_server_exceptions=False) as made:
        yield made
