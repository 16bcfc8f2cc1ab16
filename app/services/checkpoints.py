"""Checkpoints: the row, the files of its manifest, and all of them as one archive."""

import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.errors import NotFound, Unavailable
from app.core.models import Checkpoint
from app.core.storage import Store

CHECKPOINT_ID = re.compile(r"ckpt_[0-9a-z]{26}")
BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class StoredFile:
    """A file of a manifest; `sha256` is hexadecimal."""

    key: str
    name: str
    bytes: int
    sha256: str
    role: str
    form: str | None


def get(session: Session, workspace: str, checkpoint_id: str) -> Checkpoint:
    """Return the checkpoint; raises `NotFound`."""
    query = select(Checkpoint).where(
        Checkpoint.id == checkpoint_id, Checkpoint.workspace_id == workspace
    )
    known = CHECKPOINT_ID.fullmatch(checkpoint_id)
    checkpoint = session.scalars(query).one_or_none() if known else None
    if checkpoint is None:
        raise NotFound("There is no such checkpoint.")
    return checkpoint


def files_of(checkpoint: Checkpoint) -> list[StoredFile]:
    """Return the files that the manifest names; there are no others."""
    return [
        StoredFile(
            key=f"{checkpoint.id}/{entry['name']}",
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
    whole = all(store.size(file.key) == file.bytes for file in files)
    if checkpoint.state != "ready" or not whole:
        raise Unavailable(
            "The checkpoint's stored bytes are not those of its manifest.",
            code="artifact_unavailable",
        )


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

    def read(self, store: Store) -> Iterator[bytes]:
        """Yield the archive, file by file from the store, without a copy on the way."""
        info, text = self._manifest()
        yield _head(info)
        yield text + b"\0" * (_padded(len(text)) - len(text))
        for file, head in zip(self.files, self._heads(), strict=True):
            yield _head(head)
            yield from store.read(file.key, 0, file.bytes)
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
