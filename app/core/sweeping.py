"""Removing the bytes that no checkpoint names: of saves that were killed, and of half deletions."""

from itertools import islice

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from app.core.db import transaction
from app.core.models import Checkpoint
from app.core.models.ids import is_id
from app.core.storage import Store

LEASES = 10
"""Bytes without a row are left alone until they are older than so many leases."""


def hold(session: Session, checkpoint_id: str) -> None:
    """Keep sweeper and writer of a checkpoint's bytes apart until the transaction ends.

    Under it the writer sees that all bytes are there before it commits their row, and the sweeper
    that there is no row. So even a writer that slept for an hour commits no row without its bytes.
    """
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(checkpoint_id, 0))))


def sweep(engine: Engine, store: Store, *, older_seconds: float, limit: int) -> list[str]:
    """Remove up to `limit` folders of checkpoints without a row; return their names."""
    found = [name for name in store.folders() if is_id(name, "ckpt")]
    with transaction(engine) as session:
        known = set(session.scalars(select(Checkpoint.id)))
    old = (
        name
        for name in found
        if name not in known and (store.idle_seconds(name) or 0) >= older_seconds
    )
    return [name for name in islice(old, limit) if _remove(engine, store, name)]


def _remove(engine: Engine, store: Store, checkpoint_id: str) -> bool:
    with transaction(engine) as session:
        hold(session, checkpoint_id)
        if session.get(Checkpoint, checkpoint_id) is not None:
            return False
        store.delete(checkpoint_id)
    return True
