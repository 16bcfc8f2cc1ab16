"""Whether everything that the service stands on answers now."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from kombu import Connection
from sqlalchemy import Engine, text

from app.core.logging import get_logger
from app.core.migrations import at_head
from app.core.storage import Store

BROKER_SECONDS = 2


@dataclass(frozen=True)
class Check:
    """One dependency: does it answer, how fast, and does the service need it."""

    ok: bool
    seconds: float
    needed: bool


def ready(engine: Engine, store: Store, broker_url: str | None) -> dict[str, Check]:
    """Ask every dependency; the broker only carries nudges, so it is not needed."""
    return {
        "database": _timed(lambda: _database(engine)),
        "migrations": _timed(lambda: _migrations(engine)),
        "store": _timed(store.check),
        "broker": _timed(lambda: _broker(engine, broker_url), needed=False),
    }


def _timed(check: Callable[[], None], *, needed: bool = True) -> Check:
    start = time.perf_counter()
    try:
        check()
        ok = True
    except Exception as fault:  # noqa: BLE001  # whatever is wrong with it, it is not ready
        get_logger().warning("not ready", fault=type(fault).__name__)
        ok = False
    return Check(ok, round(time.perf_counter() - start, 4), needed)


def _database(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def _migrations(engine: Engine) -> None:
    if not at_head(engine):
        raise RuntimeError("the schema is not this version's")


def _broker(engine: Engine, url: str | None) -> None:
    if url is None:
        _database(engine)
        return
    with Connection(url, connect_timeout=BROKER_SECONDS) as connection:
        connection.ensure_connection(max_retries=1, timeout=BROKER_SECONDS)
