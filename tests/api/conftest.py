"""The application on a real database, behind a real HTTP client."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, create_engine
from starlette.testclient import TestClient
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.core.settings import Settings
from app.core.storage import Store
from app.main import create_app
from tests.conftest import database_on, on_server

CATALOGUE = """
[models.small]
source = { type = "folder", path = "/models/small" }
license = "MIT"

[judges.rubric]
type = "rubric"

[judges.paid]
type = "openai"
base_url = "https://judge.example/v1"
model = "asked-model"
credential_env = "JUDGE_KEY"
price = { input = 100, output = 200 }

[judges.unpriced]
type = "openai"
base_url = "https://judge.example/v1"
model = "asked-model"

[judges.local]
type = "local_lm"
model = "small"
"""


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[EventDict]]:
    """What is logged meanwhile; keeping it is also much faster than printing tracebacks."""
    with capture_logs() as found:
        yield found


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Settings with a catalogue of this test's own."""
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text(CATALOGUE)
    return Settings(database_url=database_url, catalogue=catalogue, max_upload_bytes=4096)


@pytest.fixture
def app(settings: Settings, engine: Engine) -> FastAPI:
    """The application."""
    return create_app(settings, engine)


@pytest.fixture
def store(app: FastAPI) -> Store:
    """The application's artifact store."""
    found: Store = app.state.store
    return found


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A client that sees what a user sees, a 500 as well."""
    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


@pytest.fixture(scope="session")
def shared_engine(postgres: str, template: str) -> Iterator[Engine]:
    """An engine on one database for all tests whose rows do not meet."""
    name = f"shared_{uuid.uuid4().hex}"
    on_server(postgres, f"CREATE DATABASE {name} TEMPLATE {template}")
    engine = create_engine(database_on(postgres, name))
    yield engine
    engine.dispose()
    on_server(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def shared(shared_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client of one application on the shared database."""
    catalogue = tmp_path_factory.mktemp("shared") / "catalogue.toml"
    catalogue.write_text(CATALOGUE)
    made = create_app(Settings(catalogue=catalogue), shared_engine)
    with TestClient(made, raise_server_exceptions=False) as client:
        yield client
