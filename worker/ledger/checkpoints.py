"""Checkpoints of a run: bytes into the store first, then the fenced row that makes them visible."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.core import lease as leases
from app.core.checkpoints import mark_best, score_now
from app.core.db import transaction
from app.core.errors import Unavailable
from app.core.models import Act, Checkpoint, Job, log_event, new_id
from app.core.storage import Store
from app.core.sweeping import hold
from worker.cycle.canonical import digest
from worker.cycle.events import RoundEnded
from worker.ledger import keeping
from worker.ledger.book import Book
from worker.ledger.fetching import CorruptCheckpoint, fetch_file, marking_corrupt

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
        files = self._put_files(checkpoint_id, folder)
        manifest = {"checkpoint_id": checkpoint_id, "round": event.round, **facts, "files": files}
        with self.book.commit() as (session, job):
            self._require_whole(session, manifest)
            old = keeping.forget_corrupt(session, job)
            session.add(_row(job, event, manifest, score_now(session, job)))
            session.add(_event(job, checkpoint_id, event))
            leases.progressed(session, job)
            mark_best(session, job)
            old += keeping.forget_old(session, job, self.keep)
            if event.done:
                job.result_checkpoint_id = checkpoint_id
                job.phase = None
                session.flush()
                leases.settle(session, self.book.lease, Act.FINISH, reason="the run is complete")
        for stale in old:
            self.store.delete(stale)

    def _put_files(self, checkpoint_id: str, folder: Path) -> list[dict[str, Any]]:
        """Store all files or none; what a kill leaves behind is swept away later."""
        try:
            return [self._put_file(checkpoint_id, folder, path) for path in _files(folder)]
        except BaseException:
            self.store.delete(checkpoint_id)
            raise

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

    def _require_whole(self, session: Session, manifest: dict[str, Any]) -> None:
        """See that no sweeper took the bytes for forgotten ones while this writer slept."""
        checkpoint_id = manifest["checkpoint_id"]
        hold(session, checkpoint_id)
        for entry in manifest["files"]:
            if self.store.size(f"{checkpoint_id}/{entry['name']}") != entry["bytes"]:
                raise Unavailable(
                    f"{entry['name']} of {checkpoint_id} was removed before it was committed.",
                    code="artifact_unavailable",
                )

    def fetch(self, folder: Path, roles: Iterable[str]) -> dict[str, Any]:
        """Copy the checkpoint's files of some roles into a folder, each verified by sha256.

        Raises `CorruptCheckpoint`, and marks the checkpoint, where they are not what was stored.
        """
        with transaction(self.book.engine) as session:
            row = session.get_one(Checkpoint, self.book.lease.checkpoint_id)
        wanted = set(roles)
        with marking_corrupt(self.book.engine, row.id):
            if digest(row.manifest) != row.manifest_sha256:
                raise CorruptCheckpoint(f"the manifest of {row.id} is not what was stored")
            for entry in row.manifest["files"]:
                if entry["role"] in wanted:
                    fetch_file(self.store, row.id, folder, entry)
        return row.manifest


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


def _row(
    job: Job, event: RoundEnded, manifest: dict[str, Any], score: dict[str, Any] | None
) -> Checkpoint:
    return Checkpoint(
        id=manifest["checkpoint_id"],
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
        metrics={"progress": job.progress, "score": score},
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
