"""Checkpoints: the row, the files of its manifest, and all of them as one archive."""

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.core.checkpoints import mark_corrupt
from app.core.db import transaction
from app.core.errors import NotFound, Unavailable
from app.core.models import Checkpoint, Job
from app.core.models.ids import is_id
from app.core.storage import Store

BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class StoredFile:
    """A file of a manifest; `sha256` is hexadecimal."""

    checkpoint_id: str
    name: str
    bytes: int
    sha256: str
    role: str
    form: str | None

    @property
    def key(self) -> str:
        """Where the store keeps it."""
        return f"{self.checkpoint_id}/{self.name}"


def get(session: Session, workspace: str, checkpoint_id: str) -> Checkpoint:
    """Return the checkpoint; raises `NotFound`."""
    query = select(Checkpoint).where(
        Checkpoint.id == checkpoint_id, Checkpoint.workspace_id == workspace
    )
    known = is_id(checkpoint_id, "ckpt")
    checkpoint = session.scalars(query).one_or_none() if known else None
    if checkpoint is None:
        raise NotFound("There is no such checkpoint.")
    return checkpoint


def find_with_job(
    session: Session, workspace: str, checkpoint_id: str
) -> tuple[Checkpoint, Job] | None:
    """Find a checkpoint and the job that made it."""
    query = (
        select(Checkpoint, Job)
        .join(Job, Job.id == Checkpoint.job_id)
        .where(Checkpoint.id == checkpoint_id, Checkpoint.workspace_id == workspace)
    )
    found = session.execute(query).one_or_none()
    return None if found is None else (found[0], found[1])


def files_of(checkpoint: Checkpoint) -> list[StoredFile]:
    """Return the files that the manifest names; there are no others."""
    return [
        StoredFile(
            checkpoint_id=checkpoint.id,
            name=entry["name"],
            bytes=entry["bytes"],
            sha256=entry["sha256"],
            role=entry["role"],
            form=entry.get("form"),
        )
        for entry in checkpoint.manifest["files"]
    ]


def file_of(checkpoint: Checkpoint, name: str, store: Store) -> StoredFile:
    """Return a file that can be read now; raises `NotFound` or `Unavailable`."""
    found = [file for file in files_of(checkpoint) if file.name == name]
    if not found:
        raise NotFound("The checkpoint's manifest names no such file.")
    _check(checkpoint, found, store)
    return found[0]


def chosen_files(
    checkpoint: Checkpoint, store: Store, roles: Sequence[str], form: str | None
) -> list[StoredFile]:
    """Return the files of an archive: of the roles, weights in one form if one is wanted."""
    chosen = [
        file
        for file in files_of(checkpoint)
        if file.role == "card" or (file.role in roles and (form is None or _has(file, form)))
    ]
    if form is not None and not any(file.form == form for file in chosen):
        raise NotFound("The checkpoint has no weights in this form; its manifest names the forms.")
    _check(checkpoint, chosen, store)
    return chosen


def _has(file: StoredFile, form: str) -> bool:
    return file.role != "weights" or file.form == form


def _check(checkpoint: Checkpoint, files: Sequence[StoredFile], store: Store) -> None:
    if checkpoint.state == "corrupt":
        raise _corrupt()
    if not all(store.size(file.key) == file.bytes for file in files):
        raise Unavailable(
            "A stored file of the checkpoint is missing or cut.", code="artifact_unavailable"
        )


def _corrupt() -> NotFound:
    return NotFound(
        "The checkpoint's stored bytes are not those of its manifest, so it is not given out. "
        "Another checkpoint of the job may be whole.",
        code="checkpoint_corrupt",
    )


def read_whole(engine: Engine, store: Store, file: StoredFile) -> Iterator[bytes]:
    """Yield a file, and its last piece only once all of it has the manifest's hash.

    If it has not, the checkpoint is marked as corrupt, and the transfer ends short of its length.
    """
    total, held = hashlib.sha256(), b""
    for piece in store.read(file.key, 0, file.bytes):
        total.update(piece)
        if held:
            yield held
        held = piece
    if total.hexdigest() != file.sha256:
        with transaction(engine) as session:
            mark_corrupt(session, file.checkpoint_id)
        raise _corrupt()
    yield held


@dataclass(frozen=True)
class Archive:
    """A tar whose bytes are known in number before the first is sent."""

    checkpoint: Checkpoint
    files: Sequence[StoredFile]

    def size(self) -> int:
        """Return the archive's length."""
        heads = [*self._heads(), self._manifest()[0]]
        bodies = sum(_padded(file.bytes) for file in self.files)
        own = _padded(len(self._manifest()[1]))
        return sum(len(_head(head)) for head in heads) + bodies + own + 2 * BLOCK

    def read(self, read_file: Callable[[StoredFile], Iterator[bytes]]) -> Iterator[bytes]:
        """Yield the archive, file by file, without a copy on the way."""
        info, text = self._manifest()
        yield _head(info)
        yield text + b"\0" * (_padded(len(text)) - len(text))
        for file, head in zip(self.files, self._heads(), strict=True):
            yield _head(head)
            yield from read_file(file)
            yield b"\0" * (_padded(file.bytes) - file.bytes)
        yield b"\0" * (2 * BLOCK)

    def _manifest(self) -> tuple[tarfile.TarInfo, bytes]:
        text = json.dumps(self.checkpoint.manifest, indent=1, sort_keys=True).encode() + b"\n"
        return self._info("manifest.json", len(text)), text

    def _heads(self) -> list[tarfile.TarInfo]:
        return [self._info(file.name, file.bytes) for file in self.files]

    def _info(self, name: str, size: int) -> tarfile.TarInfo:
        info = tarfile.TarInfo(f"{self.checkpoint.id}/{name}")
        info.size = size
        info.mode = 0o644
        info.mtime = int(self.checkpoint.created_at.timestamp())
        return info


def _head(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.PAX_FORMAT)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
