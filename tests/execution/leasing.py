"""Lease functions as tests call them, each in a transaction of its own."""

from typing import Any

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from app.core.lease import Lease, claim, settle
from app.core.models import (
    Act,
    State,
)
from app.core.reaping import reap


def claimed(engine: Engine, owner: str = "w1", ttl: float = 60) -> Lease:
    lease = maybe_claimed(engine, owner, ttl)
    assert lease is not None
    return lease


def maybe_claimed(engine: Engine, owner: str = "w1", ttl: float = 60) -> Lease | None:
    with Session(engine) as session, session.begin():
        return claim(session, owner=owner, ttl_seconds=ttl)


def settled(engine: Engine, lease: Lease, act: Act, **how: Any) -> State:
    with Session(engine) as session, session.begin():
        return settle(session, lease, act, **how)


def reaped(engine: Engine, ttl: float = 0.1, max_stalls: int = 3) -> list[str]:
    with Session(engine) as session, session.begin():
        return reap(session, ttl_seconds=ttl, max_stalls=max_stalls)


def change(engine: Engine, job_id: str, sql: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE jobs SET {sql} WHERE id = :id"), {"id": job_id})


def expire(engine: Engine, job_id: str) -> None:
    change(engine, job_id, "lease_expires_at = clock_timestamp() - interval '1 second'")


def make_runnable(engine: Engine, job_id: str) -> None:
    change(engine, job_id, "run_after = clock_timestamp() - interval '1 second'")
