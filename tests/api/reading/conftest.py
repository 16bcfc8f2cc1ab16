"""Tests that read rows of their own back share one database and one client."""

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.core.models import Job
from tests import factories


@pytest.fixture
def engine(shared_engine: Engine) -> Engine:
    """The shared database: every test has rows of its own."""
    return shared_engine


@pytest.fixture
def client(shared: TestClient) -> TestClient:
    """The shared client."""
    return shared


@pytest.fixture
def job(engine: Engine) -> Job:
    """A job of this test's own."""
    return factories.job(engine)
