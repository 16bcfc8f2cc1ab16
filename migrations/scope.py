"""Which tables are ours; the PostgreSQL broker makes its own."""

from sqlalchemy import Table

BROKER_TABLES = frozenset({"kombu_message", "kombu_queue"})


def is_ours(thing: object, name: str | None, kind: str, *_: object) -> bool:
    """Leave the broker's tables, and what belongs to them, out of a comparison."""
    table = thing if kind == "table" else getattr(thing, "table", None)
    return (table.name if isinstance(table, Table) else name) not in BROKER_TABLES
