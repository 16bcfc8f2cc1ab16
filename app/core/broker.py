"""PostgreSQL as the broker: kombu's SQLAlchemy transport, polled often and reconnecting always."""

from typing import ClassVar

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.sqlalchemy import Transport
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

SCHEME = "nudges"
MESSAGES = "kombu_message"
DELIVERED = text(
    f"DELETE FROM {MESSAGES} WHERE NOT visible"  # noqa: S608 - a constant
    " OR (payload::json #>> '{headers,expires}')::timestamptz < clock_timestamp()"
)


class NudgeTransport(Transport):  # type: ignore[misc]  # kombu has no types
    """Looks five times a second; any fault of the database means: connect anew."""

    polling_interval = 0.2
    connection_errors: ClassVar[tuple[type[Exception], ...]] = (SQLAlchemyError,)


def register() -> None:
    """Make `nudges+postgresql+psycopg://...` a broker URL of this process."""
    TRANSPORT_ALIASES[SCHEME] = f"{__name__}:{NudgeTransport.__name__}"


def purge_delivered(engine: Engine) -> int:
    """Delete delivered and expired messages, which the transport keeps; return how many."""
    with engine.begin() as connection:
        if not inspect(connection).has_table(MESSAGES):
            return 0
        return connection.execute(DELIVERED).rowcount
