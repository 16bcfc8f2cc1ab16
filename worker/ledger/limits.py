"""Requests and tokens a minute of one credential, shared by all workers through one row.

A generic cell rate algorithm by the database's clock: each bucket is one instant, at which all
that was taken has flowed in again. A tenth of a minute's limit may be taken at once and the rest
flows evenly, at a rate that leaves no minute with more than its limit. Only a request of more
tokens than that tenth may bring a minute over the limit, by as much as it is larger.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import DateTime, Engine, extract, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.core.db import transaction
from app.core.lease import clock
from app.core.models import JudgeLimit

WINDOW_SECONDS = 61.0
"""A second over the minute, for what the network does to the distances between posts."""
BURST_SHARE = 10
LONGEST_BLOCK_SECONDS = 3600.0
"""No Retry-After closes a credential for longer."""


@dataclass(frozen=True)
class Rate:
    """A limit a minute, as distances in time; one reservation never waits for a minute's worth."""

    per_minute: int

    @property
    def burst(self) -> int:
        """How much may be taken at once."""
        return max(1, self.per_minute // BURST_SHARE)

    def spacing(self, amount: int) -> timedelta:
        """Return the time in which `amount` flows in."""
        each = WINDOW_SECONDS / (self.per_minute + 1 - self.burst)
        return timedelta(seconds=amount * each)

    def earliest(self, clear_at: datetime, amount: int) -> datetime:
        """Say when `amount` may be taken; more than a burst needs an empty bucket."""
        return clear_at - self.spacing(self.burst - min(amount, self.burst))

    def taken(self, clear_at: datetime, at: datetime, amount: int) -> datetime:
        """Return the new clear instant after taking `amount` at an instant."""
        return max(clear_at, at) + self.spacing(min(amount, self.per_minute))

    def corrected(self, amount: int) -> timedelta:
        """Return the time of a correction; an absurd one counts no more than a minute's worth."""
        return self.spacing(max(-self.per_minute, min(amount, self.per_minute)))


@dataclass(frozen=True)
class SharedLimits:
    """The limits of one credential; each method is one short transaction on its row."""

    engine: Engine
    credential: str
    requests: Rate | None
    tokens: Rate | None
    _alone: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)
    """The threads of a process would wait at the row anyway, each with a connection."""

    def reserve(self, tokens: int) -> float:
        """Take one request and so many tokens; return the seconds until they may be used."""
        with self._row() as (session, row):
            now = clock(session)
            at = max(now, row.blocked_until or now)
            if self.requests is not None:
                at = max(at, self.requests.earliest(row.requests_clear_at or now, 1))
            if self.tokens is not None:
                at = max(at, self.tokens.earliest(row.tokens_clear_at or now, tokens))
            self._take(row, at, tokens)
            return (at - now).total_seconds()

    def settle(self, tokens: int) -> None:
        """Add tokens to a reservation that took too few, or give back with a negative number."""
        if self.tokens is None or tokens == 0:
            return
        with self._row() as (_, row):
            if row.tokens_clear_at is not None:
                row.tokens_clear_at += self.tokens.corrected(tokens)

    def block(self, seconds: float) -> None:
        """Let nobody post for so long; a longer block that runs already stays."""
        if seconds <= 0:
            return
        with self._row() as (session, row):
            until = clock(session) + timedelta(seconds=min(seconds, LONGEST_BLOCK_SECONDS))
            row.blocked_until = max(until, row.blocked_until or until)

    def blocked(self) -> float:
        """Return the seconds for which nobody may post."""
        now = func.clock_timestamp(type_=DateTime(timezone=True))
        left = select(extract("epoch", JudgeLimit.blocked_until - now)).where(
            JudgeLimit.credential == self.credential
        )
        with self._alone, transaction(self.engine) as session:
            return max(0.0, float(session.scalar(left) or 0))

    def _take(self, row: JudgeLimit, at: datetime, tokens: int) -> None:
        if self.requests is not None:
            row.requests_clear_at = self.requests.taken(row.requests_clear_at or at, at, 1)
        if self.tokens is not None:
            row.tokens_clear_at = self.tokens.taken(row.tokens_clear_at or at, at, tokens)

    @contextmanager
    def _row(self) -> Iterator[tuple[Session, JudgeLimit]]:
        with self._alone, transaction(self.engine) as session:
            yield session, session.get_one(JudgeLimit, self.credential, with_for_update=True)


def open_limits(
    engine: Engine,
    credential: str,
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
) -> SharedLimits:
    """Make sure that the credential has a row; None is no limit."""
    with transaction(engine) as session:
        row = insert(JudgeLimit).values(credential=credential)
        session.execute(row.on_conflict_do_nothing())
    return SharedLimits(
        engine,
        credential,
        Rate(requests_per_minute) if requests_per_minute else None,
        Rate(tokens_per_minute) if tokens_per_minute else None,
    )


def credential_hash(base_url: str, credential_env: str | None) -> str:
    """Identify who counts: an address and the name of the variable with the key, in hex."""
    named = json.dumps([base_url.rstrip("/"), credential_env])
    return hashlib.sha256(named.encode()).hexdigest()
