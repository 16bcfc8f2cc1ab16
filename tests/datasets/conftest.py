"""The application on a real database, with small limits."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import Engine, create_engine
from starlette.testclient import TestClient

from app.core.settings import Settings
from app.main import create_app
from tests.conftest import database_on, on_server


def limited(url: str) -> Settings:
    return Settings(database_url=url, max_upload_bytes=1 << 20, max_line_bytes=1 << 16)


@pytest.fixture
def client(database_url: str, engine: Engine) -> Iterator[TestClient]:
    """A client that sees what a user sees, a 500 as well."""
    app = create_app(limited(database_url), engine)
    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


@dataclass(frozen=True)
class Idle:
    """A client and its database, in which nothing is ever stored."""

    client: TestClient
    engine: Engine


@pytest.fixture(scope="session")
def idle(postgres: str, template: str) -> Iterator[Idle]:
    """One application for all tests whose requests are refused."""
    name = f"idle_{uuid.uuid4().hex}"
    on_server(postgres, f"CREATE DATABASE {name} TEMPLATE {template}")
    url = database_on(postgres, name)
    engine = create_engine(url)
    with TestClient(create_app(limited(url), engine), raise_server_exceptions=False) as client:
        yield Idle(client, engine)
    engine.dispose()
    on_server(postgres, f"DROP DATABASE {name} WITH (FORCE)")
