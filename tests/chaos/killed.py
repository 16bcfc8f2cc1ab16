"""An attempt at a job in a process of its own, observed at every point and killed at one of them.

The observers stand around the runner's own book, shelf and store; the runner knows nothing of them.
"""

import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, Literal, cast

import torch
from safetensors.torch import load_file, save_file
from sqlalchemy.orm import Session

from app.core.db import get_engine, transaction
from app.core.lease import Lease, claim
from app.core.models import Job
from app.core.storage import Store
from worker import runner
from worker.cycle.events import Event, Phase, RoundEnded
from worker.ledger.book import Book
from worker.ledger.checkpoints import Shelf
from worker.recipe import Run

Ablation = Literal["optimizer", "ledger"]


@dataclass(frozen=True, order=True)
class Point:
    """The `nth` time (from 1) that an attempt comes by a boundary of a kind in a phase."""

    kind: str
    phase: str
    nth: int

    @property
    def place(self) -> tuple[str, str]:
        return self.kind, self.phase


@dataclass(frozen=True)
class Order:
    """What a child is to do; without `kill_at` it goes on to the job's end."""

    environ: Mapping[str, str]
    kill_at: Point | None = None
    ablate: Ablation | None = None


@dataclass(eq=False)
class Watcher:
    """Notes each point as it is passed, and ends the process at one of them."""

    kill_at: Point | None
    phase: str
    passed: list[Point] = field(default_factory=list)
    _times: Counter[tuple[str, str]] = field(default_factory=Counter)
    _alone: threading.Lock = field(default_factory=threading.Lock)

    def passes(self, kind: str, phase: str | None = None) -> None:
        """Note a point; without a phase it is in that of the thread that drives the run."""
        with self._alone:
            place = (kind, phase or self.phase)
            self._times[place] += 1
            point = Point(*place, self._times[place])
            self.passed.append(point)
            if point == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def enters(self, event: Event) -> None:
        """Follow the run through its recipe."""
        match event:
            case Phase(name="evaluating"):
                begun = self.phase not in {"loading", "held_out_before"}
                self.phase = "held_out_after" if begun else "held_out_before"
            case Phase():
                self.phase = event.name
            case RoundEnded():
                self.phase = "finishing" if event.done else "round end"


@dataclass(frozen=True)
class ObservedBook(Book):
    """The book, with a point before each commit, one when all but COMMIT is done, one after it."""

    watcher: Watcher

    def record(self, event: Event) -> None:
        self.watcher.enters(event)
        super().record(event)

    @contextmanager
    def commit(self) -> Iterator[tuple[Session, Job]]:
        kind, phase = _written_by(sys._getframe(1))
        self.watcher.passes(f"{kind}, before", phase)
        with super().commit() as (session, job):
            yield session, job
            session.flush()
            self.watcher.passes(f"{kind}, inside", phase)
        self.watcher.passes(f"{kind}, after", phase)


def _written_by(frame: FrameType | None) -> tuple[str, str | None]:
    """What is committed, and the phase where it is the judge's: read off the calls under way."""
    while frame and frame.f_code.co_name in {"__enter__", "_commit"}:
        frame = frame.f_back
    assert frame
    name, told = frame.f_code.co_name, frame.f_locals
    if "at" in told:
        return f"judge {name}", told["at"].stage
    return type(told["event"]).__name__ if name == "record" else name, None


class ObservedStore:
    """A store, with points around each file, in the midst of it, and before each deletion."""

    def __init__(self, store: Store, watcher: Watcher) -> None:
        self._store = store
        self._watcher = watcher

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write(self, key: str, chunks: Iterable[bytes]) -> int:
        kind = f"file of {key.split('/')[1]}"
        self._watcher.passes(f"{kind}, before")
        size = self._store.write(key, self._halved(kind, chunks))
        self._watcher.passes(f"{kind}, after")
        return size

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        self._watcher.passes("file read, before")
        return self._store.read(key, start, end)

    def delete(self, prefix: str) -> None:
        self._watcher.passes("old bytes deleted, before")
        self._store.delete(prefix)

    def _halved(self, kind: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            half = len(chunk) // 2
            yield chunk[:half]
            self._watcher.passes(f"{kind}, half")
            yield chunk[half:]


class Forgetful(Shelf):
    """A shelf whose checkpoints come back without the optimizer's state."""

    def fetch(self, folder: Path, roles: Iterable[str]) -> dict[str, Any]:
        manifest = super().fetch(folder, roles)
        path = folder / "training_state" / "optimizer.safetensors"
        save_file({name: torch.zeros_like(one) for name, one in load_file(path).items()}, path)
        return manifest


def observed(run: Run, watcher: Watcher, ablate: Ablation | None) -> Run:
    """The same run, observed."""
    book = ObservedBook(run.book.engine, run.book.lease, watcher)
    store = cast("Store", ObservedStore(run.shelf.store, watcher))
    shelf = replace(run.shelf, book=book, store=store)
    if ablate == "optimizer":
        shelf = Forgetful(**vars(shelf))
    return replace(run, book=book, shelf=shelf)


def attempt(order: Order, tells: Connection) -> None:
    """Claim the job and work on it; one that is not killed tells the points that it has passed."""
    os.environ.update(order.environ)
    lease = _claimed()
    watcher = Watcher(order.kill_at, "loading" if lease.checkpoint_id is None else "resuming")
    opened = runner.open_run(lease, threading.Event())
    runner.run(observed(opened, watcher, order.ablate))
    tells.send(watcher.passed)


def _claimed() -> Lease:
    with transaction(get_engine()) as session:
        lease = claim(session, owner=f"p{os.getpid()}", ttl_seconds=600)
    assert lease is not None
    return lease
