"""A request that names itself is carried out once: its answer is kept for a day, and given again.

What it did and its answer are one transaction. A request that was refused did nothing and leaves
nothing, so that it may be mended and sent again under the same key.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.core.errors import Invalid
from app.core.models import AnsweredRequest

KEPT = timedelta(days=1)


@dataclass(frozen=True)
class Named:
    """A request with a key; `sha256` is of all that it asks."""

    workspace: str
    path: str
    key: str
    sha256: str


def hold(session: Session, named: Named) -> bool:
    """Keep requests of one name apart until the transaction ends; False if one is under way."""
    name = f"{named.workspace} {named.path} {named.key}"
    lock = func.pg_try_advisory_xact_lock(func.hashtextextended(name, 1))
    return bool(session.scalar(select(lock)))


def answered(session: Session, named: Named) -> AnsweredRequest | None:
    """Find what a request was answered before; `Invalid` if its key named another one."""
    found = session.get(AnsweredRequest, (named.workspace, named.path, named.key))
    if found is not None and found.sha256 != named.sha256:
        raise Invalid(
            "This Idempotency-Key named a request that asked for something else; "
            "a new request needs a new key.",
            code="idempotency_key_reused",
        )
    return found


def keep(session: Session, named: Named, status: int, location: str | None, body: str) -> None:
    """Store the answer of a request that did what it asked for."""
    session.add(
        AnsweredRequest(
            workspace_id=named.workspace,
            path=named.path,
            key=named.key,
            sha256=named.sha256,
            status=status,
            location=location,
            body=body,
        )
    )


def forget_old(session: Session) -> None:
    """Delete the answers whose time is over."""
    over = AnsweredRequest.created_at < func.clock_timestamp() - KEPT
    session.execute(delete(AnsweredRequest).where(over))
