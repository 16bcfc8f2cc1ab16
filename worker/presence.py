"""A worker's row in `workers`: who it is, since when, and its last sign of life."""

import os
import platform
import threading
from collections.abc import Callable
from importlib.metadata import version

from sqlalchemy import Engine, delete, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from app.core.db import transaction
from app.core.logging import get_logger
from app.core.models import WorkerRow


class Presence(threading.Thread):
    """Renews the row until told to leave; a database that is away is asked again later."""

    def __init__(
        self, engine: Engine, worker_id: str, draining: Callable[[], bool], every_seconds: float
    ) -> None:
        super().__init__(daemon=True)
        self.engine = engine
        self.worker_id = worker_id
        self.draining = draining
        self.every_seconds = every_seconds
        self.leaving = threading.Event()

    def run(self) -> None:
        """Show the worker's life every so many seconds."""
        show(self.engine, self.worker_id, draining=self.draining())
        while not self.leaving.wait(self.every_seconds):
            show(self.engine, self.worker_id, draining=self.draining())

    def leave(self) -> None:
        """Take the row away; what a killed worker leaves behind, the dispatcher removes."""
        self.leaving.set()
        try:
            with transaction(self.engine) as session:
                session.execute(delete(WorkerRow).where(WorkerRow.id == self.worker_id))
        except SQLAlchemyError as fault:
            get_logger().warning("the worker's row is left", fault=type(fault).__name__)


def show(engine: Engine, worker_id: str, *, draining: bool) -> None:
    """Write that the worker lives, by the database's clock."""
    now = func.clock_timestamp()
    row = insert(WorkerRow).values(
        id=worker_id,
        host=platform.node(),
        kind="runner",
        version=version("cyclealign"),
        facts={"pid": os.getpid(), "cpus": os.cpu_count(), "python": platform.python_version()},
        draining=draining,
        started_at=now,
        seen_at=now,
    )
    renewed = row.on_conflict_do_update(
        index_elements=["id"], set_={"seen_at": now, "draining": draining}
    )
    try:
        with transaction(engine) as session:
            session.execute(renewed)
    except SQLAlchemyError as fault:
        get_logger().warning("no sign of life written", fault=type(fault).__name__)
