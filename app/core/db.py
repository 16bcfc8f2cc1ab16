"""The engine and the one way to open, commit and roll back."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from app.core.settings import get_settings


def get_engine(url: str | None = None) -> Engine:
    """Return this process's engine for the URL, or for the one of the settings."""
    return _open(url or get_settings().database_url)


@cache
def _open(url: str) -> Engine:
    """Make an engine whose connections are checked before use."""
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_size=5,
        max_overflow=10,
        pool_timeout=5,
        connect_args={"connect_timeout": 5, "options": "-c timezone=UTC"},
    )


@contextmanager
def transaction(engine: Engine | None = None) -> Iterator[Session]:
    """One unit of work: commits at the end, rolls back on any error."""
    with Session(engine or get_engine(), expire_on_commit=False) as session, session.begin():
        yield session
