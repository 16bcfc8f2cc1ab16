"""The worker: `celery -A worker.main worker` listens for nudges and runs jobs, one at a time.

Its main process only receives; a pool process, forked from it, supervises the job's own process.
"""

import mmap
from collections.abc import Sequence
from functools import cache
from typing import Any

from celery import Celery, signals

from app.core.db import get_engine
from app.core.logging import get_logger, setup_logging
from app.core.models import new_id
from app.core.queue import NUDGE, celery_app, prepare_broker
from app.core.settings import Settings, get_settings
from worker.presence import Presence
from worker.supervise import RUNNER, Supervisor, open_engine, work_once


class Slot:
    """What one pool process needs to run jobs; opened after the fork, since connections break."""

    def __init__(self, settings: Settings, runner: Sequence[str]) -> None:
        self.settings = settings
        self.runner = runner
        self.shared = mmap.mmap(-1, 1)
        """Memory shared with the main process: not zero once the worker shuts down."""
        self.supervisor: Supervisor | None = None
        self.presence: Presence | None = None

    def drain(self, **_: Any) -> None:
        """Note, in the main process, that the worker shuts down."""
        self.shared[0] = 1

    def draining(self) -> bool:
        """Whether the worker shuts down, as the main process noted it."""
        return self.shared[0] != 0

    def open(self, **_: Any) -> None:
        """Begin, in the pool process, as a worker of its own."""
        engine = open_engine(self.settings)
        owner = new_id("worker")
        self.supervisor = Supervisor(engine, self.settings, owner, self.draining, self.runner)
        every = self.settings.heartbeat_seconds
        self.presence = Presence(engine, owner, self.draining, every)
        self.presence.start()

    def close(self, **_: Any) -> None:
        """Leave, at the end of the pool process."""
        if self.presence is not None:
            self.presence.leave()

    def work(self) -> None:
        """Do what a nudge asks for: look for a runnable job and see it through."""
        assert self.supervisor is not None
        work_once(self.supervisor)


@cache
def make_app(runner: Sequence[str] = RUNNER) -> Celery:
    """Make the worker's Celery application, with its only task and its signals."""
    app = celery_app(get_settings())
    slot = Slot(get_settings(), runner)
    app.task(name=NUDGE)(slot.work)
    signals.setup_logging.connect(_log, weak=False)
    signals.worker_init.connect(_prepare, weak=False)
    signals.worker_shutting_down.connect(slot.drain, weak=False)
    signals.worker_process_init.connect(slot.open, weak=False)
    signals.worker_process_shutdown.connect(slot.close, weak=False)
    return app


def _log(**_: Any) -> None:
    setup_logging()
    get_logger().info("the worker starts")


def _prepare(sender: Any, **_: Any) -> None:
    """Make the broker's tables before the first poll, and leave no connection to the forks."""
    engine = get_engine()
    prepare_broker(sender.app, engine)
    engine.dispose()


def __getattr__(name: str) -> Celery:
    """Give `celery -A worker.main` its `app` when it asks, so that importing does nothing."""
    if name == "app":
        return make_app()
    raise AttributeError(name)
