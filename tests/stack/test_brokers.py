"""The same end-to-end run on a PostgreSQL of the machine, with Redis or RabbitMQ as broker."""

import socket
import uuid
from collections.abc import Iterator
from os import environ
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.stack.jobs import small_job, upload_prompts
from tests.stack.running import running, wait_for, write_catalogue

pytestmark = [pytest.mark.stack, pytest.mark.broker]

SERVER = environ.get(
    "BROKER_TEST_DATABASE", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"
)
BROKERS = {
    "redis": environ.get("BROKER_TEST_REDIS", "redis://127.0.0.1:6379/7"),
    "rabbitmq": environ.get("BROKER_TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672//"),
}
PORTS = {"redis": 6379, "amqp": 5672}


def answers(url: str, port: int) -> bool:
    """Whether something listens where the URL points."""
    parts = make_url(url)
    try:
        socket.create_connection((parts.host or "127.0.0.1", parts.port or port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def own_database() -> Iterator[str]:
    """A database of this test's own on the machine's server; empty, so that the stack migrates."""
    if not answers(SERVER, 5432):
        pytest.skip("no PostgreSQL of the machine answers")
    name = f"cyclealign_{uuid.uuid4().hex}"
    engine = create_engine(SERVER, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        yield make_url(SERVER).set(database=name).render_as_string(hide_password=False)
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.mark.parametrize("broker", sorted(BROKERS))
def test_a_job_succeeds_on_the_machines_own_servers(
    broker: str, own_database: str, tiny_model: Path, tmp_path: Path
) -> None:
    url = BROKERS[broker]
    if not answers(url, PORTS[make_url(url).drivername]):
        pytest.skip(f"no {broker} answers")
    settings = {"DATABASE_URL": own_database, "BROKER_URL": url}
    catalogue = write_catalogue(tmp_path, tiny_model)
    with running(tmp_path, catalogue, settings) as stack, stack.client() as client:
        job = client.create_job(small_job(upload_prompts(client, tmp_path)))
        ended = wait_for(client, job["id"])
        assert ended["status"] == "succeeded", ended["error"]
        assert len(list(client.agreements(job["id"]))) > 0
        assert not (tmp_path / "data" / "postgres").exists()
