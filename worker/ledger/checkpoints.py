"""Checkpoints of a run: bytes into the store first, then the fenced row that makes them visible."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.core import lease as leases
from app.core.db import transaction
from app.core.models import Act, Checkpoint, Job, log_event, new_id
from app.core.storage import Store
from worker.cycle.canonical import digest
from worker.cycle.events import RoundEnded
from worker.ledger.book import Book
from worker.ledger.fetching import CorruptCheckpoint, fetch_file

PIECE = 1 << 20


@dataclass(frozen=True)
class Shelf:
    """Where the checkpoints of one lease are put and found."""

    book: Book
    store: Store
    keep: int

    def put(self, folder: Path, event: RoundEnded, facts: dict[str, Any]) -> None:
        """Store a folder as the checkpoint of a round; the last one also finishes the job."""
        checkpoint_id = new_id("ckpt")
        files = [self._put_file(checkpoint_id, folder, path) for path in _files(folder)]
        manifest = {"checkpoint_id": checkpoint_id, "round": event.round, **facts, "files": files}
        with self.book.commit() as (session, job):
            session.add(_row(job, checkpoint_id, event, manifest))
            session.add(_event(job, checkpoint_id, event))
            leases.progressed(session, job)
            old = self._forget_old(session, job)
            if event.done:
                job.result_checkpoint_id = checkpoint_id
                job.phase = None
                session.flush()
                leases.settle(session, self.book.lease, Act.FINISH, reason="the run is complete")
        for stale in old:
            self.store.delete(stale)

    def _put_file(self, checkpoint_id: str, folder: Path, path: Path) -> dict[str, Any]:
        name = path.relative_to(folder).as_posix()
        total = hashlib.sha256()
        self.store.write(f"{checkpoint_id}/{name}", _hashed(path, total))
        return {
            "name": name,
            "bytes": path.stat().st_size,
            "sha256": total.hexdigest(),
            **_role(name),
        }

    def _forget_old(self, session: Session, job: Job) -> list[str]:
        """Delete the rows beyond the last `keep`; their bytes go after the commit."""
        query = (
            select(Checkpoint)
            .where(Checkpoint.job_id == job.id, Checkpoint.state == "ready")
            .order_by(Checkpoint.round.desc())
            .offset(self.keep)
        )
        session.flush()
        old = list(session.scalars(query))
        for row in old:
            session.delete(row)
        return [row.id for row in old]

    def fetch(self, folder: Path, roles: Iterable[str]) -> dict[str, Any]:
        """Copy the checkpoint's files of some roles into a folder, each verified by sha256."""
        checkpoint_id = self.book.lease.checkpoint_id
        with transaction(self.book.engine) as session:
            manifest: dict[str, Any] = session.get_one(Checkpoint, checkpoint_id).manifest
        wanted = set(roles)
        for entry in manifest["files"]:
            if entry["role"] in wanted:
                self._fetch_file(str(checkpoint_id), folder, entry)
        return manifest

    def _fetch_file(self, checkpoint_id: str, folder: Path, entry: dict[str, Any]) -> None:
        try:
            fetch_file(self.store, checkpoint_id, folder, entry)
        except CorruptCheckpoint:
            self._mark_corrupt(checkpoint_id)
            raise

    def _mark_corrupt(self, checkpoint_id: str) -> None:
        with self.book.commit() as (session, job):
            session.execute(
                update(Checkpoint).where(Checkpoint.id == checkpoint_id).values(state="corrupt")
            )
            session.add(
                log_event(
                    job,
                    "checkpoint_corrupt",
                    "A checkpoint's bytes do not match its manifest; the one before is used.",
                    level="error",
                    checkpoint_id=checkpoint_id,
                )
            )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _hashed(path: Path, total: Any) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            total.update(piece)
            yield piece


def _role(name: str) -> dict[str, str | None]:
    top = name.split("/", maxsplit=1)[0]
    if top == "training_state":
        return {"role": "training_state", "form": None}
    if top in {"adapter", "merged"}:
        return {"role": "weights", "form": top}
    return {"role": "card", "form": None}


def _row(job: Job, checkpoint_id: str, event: RoundEnded, manifest: dict[str, Any]) -> Checkpoint:
    return Checkpoint(
        id=checkpoint_id,
        workspace_id=job.workspace_id,
        job_id=job.id,
        round=event.round,
        update=event.version,
        steps_done=job.progress.get("steps_done", 0),
        token=job.lease_token,
        attempt=job.attempt,
        state="ready",
        final=event.done,
        manifest=manifest,
        manifest_sha256=digest(manifest),
        bytes=sum(entry["bytes"] for entry in manifest["files"]),
        metrics={"progress": job.progress},
    )


def _event(job: Job, checkpoint_id: str, event: RoundEnded) -> object:
    return log_event(
        job,
        "checkpoint",
        f"Checkpoint of round {event.round}, {event.version} updates.",
        checkpoint_id=checkpoint_id,
        round=event.round,
        update=event.version,
    )
