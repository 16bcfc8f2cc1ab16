"""The schema, step by step; `alembic upgrade head`."""
