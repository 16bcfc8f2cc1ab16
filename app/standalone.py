"""The whole service from one command: PostgreSQL, migrations, API, dispatcher and one worker.

`python -m app.standalone` needs no configuration: without DATABASE_URL it runs an embedded
PostgreSQL in the data folder. Ctrl-C stops all in order, with a running job given back; a second
one hurries. Every child dies with this process, even if it is killed; only the embedded PostgreSQL
may survive that, and the next start uses it again.
"""

import argparse
import fcntl
import http.client
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from app.core.children import Child
from app.core.embedded import Embedded, embedded_postgres
from app.core.errors import AlignError, Conflict, Unavailable
from app.core.logging import setup_logging
from app.core.migrations import migrate
from app.core.queue import celery_app, prepare_broker
from app.core.settings import Settings, get_settings

UP_SECONDS = 120
LOOK_SECONDS = 0.1
MOST_DEATHS = 3
"""A child that dies so often before the stack is up will not come up."""
OK = 200


@dataclass
class Wishes:
    """What the terminal asked for: to stop, and then to hurry."""

    stop: threading.Event = field(default_factory=threading.Event)
    hurry: threading.Event = field(default_factory=threading.Event)

    def listen(self) -> None:
        """Take SIGINT and SIGTERM as wishes."""
        signal.signal(signal.SIGINT, self._note)
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        (self.hurry if self.stop.is_set() else self.stop).set()


@dataclass
class Stack:
    """All that runs, in the order of its start; the server is None where it is the operator's."""

    server: Embedded | None
    children: list[Child]

    def keep_running(self) -> None:
        """Start anew what died."""
        if self.server is not None:
            self.server.keep_running()
        for child in self.children:
            child.keep_running()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stack until asked to stop; return the exit code."""
    setup_logging()
    wishes = Wishes()
    wishes.listen()
    try:
        run(read_arguments(arguments), wishes)
    except (AlignError, SQLAlchemyError) as error:
        sys.stderr.write(f"cyclealign did not start: {error}\n")
        return 1
    return 0


def read_arguments(arguments: Sequence[str] | None) -> Settings:
    """Let the command line override the environment's settings."""
    settings = get_settings()
    parser = argparse.ArgumentParser(prog="python -m app.standalone", description=__doc__)
    parser.add_argument("--host", default=settings.host)
    parser.add_argument("--port", type=int, default=settings.port, help="0 takes a free one")
    parser.add_argument("--data-dir", type=Path, default=settings.data_dir)
    given = parser.parse_args(arguments)
    return settings.model_copy(
        update={"host": given.host, "port": given.port, "data_dir": given.data_dir.absolute()}
    )


def run(settings: Settings, wishes: Wishes) -> None:
    """Bring everything up, keep it up, and take it down; raises `AlignError` if it cannot start."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with alone(settings.data_dir):
        port = free_port(settings.host, settings.port)
        settings = settings.model_copy(update={"port": port})
        with _database(settings) as server:
            url = server.url if server else settings.database_url
            settings = settings.model_copy(update={"database_url": url})
            prepare(settings)
            keep_up(Stack(server, children(settings)), settings, wishes)


@contextmanager
def alone(data_dir: Path) -> Iterator[None]:
    """Hold the data folder's lock; raises `Conflict` if another stack has it."""
    with (data_dir / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"another cyclealign runs on the data folder {data_dir}.") from None
        yield


def free_port(host: str, port: int) -> int:
    """Return the port if it is free, or any free one for 0; raises `Conflict` if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            raise Conflict(
                f"port {port} of {host} cannot be used ({error.strerror}). Choose another with "
                "--port; --port 0 takes a free one."
            ) from None
        return int(trial.getsockname()[1])


def prepare(settings: Settings) -> None:
    """Migrate the database and make the queue in it."""
    engine = create_engine(settings.database_url, connect_args={"connect_timeout": 5})
    try:
        migrate(engine)
        prepare_broker(celery_app(settings), engine)
    finally:
        engine.dispose()


def children(settings: Settings) -> list[Child]:
    """Name the programs of the stack in the order of their start."""
    logs = settings.data_dir / "logs"
    logs.mkdir(exist_ok=True)
    env = os.environ | {
        "DATABASE_URL": settings.database_url,
        "DATA_DIR": str(settings.data_dir),
        "HOST": settings.host,
        "PORT": str(settings.port),
    }
    return [
        _child("api", _api(settings), logs, env, 5),
        _child("dispatcher", ("app.dispatcher",), logs, env, 5),
        _child(
            "worker", _WORKER, logs, env, settings.drain_seconds + settings.stop_grace_seconds + 7
        ),
    ]


def keep_up(stack: Stack, settings: Settings, wishes: Wishes) -> None:
    """Run the children until asked to stop, and say when the service answers."""
    try:
        if _come_up(stack, settings, wishes):
            sys.stdout.write(f"cyclealign is up at {_address(settings)}\n")
            sys.stdout.flush()
        while not wishes.stop.is_set():
            _look_after(stack, wishes)
    finally:
        for child in reversed(stack.children):
            child.stop(wishes.hurry)


_WORKER = ("celery", "-A", "worker.main", "worker", "--loglevel=WARNING")


def _api(settings: Settings) -> tuple[str, ...]:
    where = ("--host", settings.host, "--port", str(settings.port))
    return ("uvicorn", "app.main:create_app", "--factory", *where, *_API_OPTIONS)


_API_OPTIONS = ("--no-access-log", "--timeout-graceful-shutdown", "3")


def _child(
    name: str, module: Sequence[str], logs: Path, env: Mapping[str, str], grace: float
) -> Child:
    return Child(name, (sys.executable, "-m", *module), logs / f"{name}.log", env, grace)


def _database(settings: Settings) -> AbstractContextManager[Embedded | None]:
    if "DATABASE_URL" in os.environ:
        return nullcontext()
    return embedded_postgres(settings.data_dir / "postgres")


def _come_up(stack: Stack, settings: Settings, wishes: Wishes) -> bool:
    """Wait until the service answers; False if asked to stop before. Raises `Unavailable`."""
    until = time.monotonic() + UP_SECONDS
    while not wishes.stop.is_set():
        _look_after(stack, wishes)
        if _is_ready(settings):
            return True
        for child in stack.children:
            if child.deaths >= MOST_DEATHS or time.monotonic() > until:
                raise Unavailable(f"the {child.name} does not come up.\n{child.tail()}")
    return False


def _look_after(stack: Stack, wishes: Wishes) -> None:
    stack.keep_running()
    wishes.stop.wait(LOOK_SECONDS)


def _is_ready(settings: Settings) -> bool:
    connection = http.client.HTTPConnection(_reachable(settings.host), settings.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _reachable(host: str) -> str:
    """Return where a server bound to this host answers on this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - recognised, not bound


def _address(settings: Settings) -> str:
    host = _reachable(settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


if __name__ == "__main__":
    sys.exit(main())
