"""Keyset pages: a place in an order is a cursor, so that inserts lose and repeat nothing."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.core.errors import Invalid

T = TypeVar("T")

Columns = Sequence[InstrumentedAttribute[Any]]


@dataclass(frozen=True)
class Ask:
    """What a caller wants to see: at most `limit` rows after the row of the cursor."""

    limit: int = 20
    after: str | None = None


@dataclass(frozen=True)
class Slice(Generic[T]):
    """Rows with the cursor of each, and whether there are more after them."""

    rows: list[T]
    cursors: list[str]
    has_more: bool


def _invalid() -> Invalid:
    return Invalid(
        "The cursor does not belong to this list. Use a page's `last_id` as `after`.",
        code="invalid_cursor",
    )


def cursor_of(scope: str, key: Sequence[int | str]) -> str:
    """Write a key as an opaque cursor of the list that `scope` names."""
    raw = json.dumps([scope, *key], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def key_of(scope: str, cursor: str, kinds: Sequence[type]) -> list[Any]:
    """Read a cursor back; raises `Invalid` for one that is altered or of another list."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        found: list[Any] = list(json.loads(raw))
    except (ValueError, TypeError):
        raise _invalid() from None
    found_scope, key = found[:1], found[1:]
    fits = [type(value) is kind for value, kind in zip(key, kinds, strict=False)]
    sizes = all(abs(value) < 2**31 for value in key if isinstance(value, int))
    clean = all(value.isprintable() for value in key if isinstance(value, str))
    if found_scope != [scope] or len(key) != len(kinds) or not (all(fits) and sizes and clean):
        raise _invalid()
    return key


def fetch(session: Session, select: Select[T], columns: Columns, ask: Ask, scope: str) -> Slice[T]:
    """Return the page of entities in the rising order of `columns`, which are their unique key."""
    if ask.after is not None:
        kinds = [column.type.python_type for column in columns]
        select = select.where(tuple_(*columns) > tuple_(*key_of(scope, ask.after, kinds)))
    rows = list(session.scalars(select.order_by(*columns).limit(ask.limit + 1)))
    shown = rows[: ask.limit]
    cursors = [cursor_of(scope, [getattr(row, c.key) for c in columns]) for row in shown]
    return Slice(shown, cursors, len(rows) > ask.limit)


def fetch_newest(session: Session, select: Select[T], model: Any, ask: Ask) -> Slice[T]:
    """Return the page of entities by (created_at, id), newest first; the cursor is an id."""
    order = (model.created_at, model.id)
    if ask.after is not None:
        place = session.execute(select.where(model.id == ask.after).with_only_columns(*order))
        key = place.one_or_none()
        if key is None:
            raise _invalid()
        select = select.where(tuple_(*order) < tuple_(*key))
    select = select.order_by(*(column.desc() for column in order)).limit(ask.limit + 1)
    rows = list(session.scalars(select))
    shown = rows[: ask.limit]
    return Slice(shown, [row.id for row in shown], len(rows) > ask.limit)  # type: ignore[attr-defined]  # every model here has an id
