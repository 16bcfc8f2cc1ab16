"""Waits until the server has noticed that a process was killed."""

import time

from sqlalchemy import Engine, text

SILENCE_SECONDS = 60.0

_OTHERS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND backend_type = 'client backend' AND pid != pg_backend_pid()"
)


def wait_for_silence(engine: Engine) -> None:
    """Wait until nobody else is connected; raises `TimeoutError`.

    Every look is a transaction of its own: within one, who is connected never changes.
    """
    until = time.monotonic() + SILENCE_SECONDS
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while connection.scalar(_OTHERS):
            if time.monotonic() > until:
                raise TimeoutError("the killed process's connections do not end")
            time.sleep(0.005)
