"""Where checkpoint bytes lie: in the database by default, or in a folder."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from sqlalchemy import ColumnElement, Engine, delete, extract, func, or_, select, text

from app.core.db import transaction
from app.core.errors import Invalid, Unavailable
from app.core.models import ArtifactChunk
from app.core.room import room_in

CHUNK = 4 << 20
"""Bytes of every stored chunk but a file's last one."""


class Store(Protocol):
    """Files by key; a key is ours, such as `ckpt_.../adapter/adapter_model.safetensors`."""

    def write(self, key: str, chunks: Iterable[bytes]) -> int:
        """Store a file whole, in place of one of the same key; return its bytes.

        Raises `Unavailable`, code `storage_full`, if there is no room; nothing of it is left then.
        """

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from `start` up to `end` (excluded); raises `Unavailable` if gone."""

    def size(self, key: str) -> int | None:
        """Return the bytes of a file, or None where there is none."""

    def delete(self, prefix: str) -> None:
        """Remove a file, or all files of a folder."""

    def folders(self) -> Iterator[str]:
        """Yield what stands at the top of all keys, ours and what else may be there."""

    def idle_seconds(self, folder: str) -> float | None:
        """Return for how long nothing was written below a folder; None if nothing is there."""

    def check(self) -> None:
        """Raise if the store cannot be used now."""


def open_store(url: str, engine: Engine) -> Store:
    """Return the store of `ARTIFACTS_URL`; raises `Invalid` for one that is not offered."""
    parts = urlsplit(url)
    match parts.scheme:
        case "database":
            return DatabaseStore(engine)
        case "file":
            return FileStore(Path(unquote(parts.netloc + parts.path)))
        case scheme:
            raise Invalid(
                f"ARTIFACTS_URL: {scheme!r} is not offered yet; use database:// or file://.",
                code="store_not_offered",
            )


def rechunk(chunks: Iterable[bytes], size: int = CHUNK) -> Iterator[bytes]:
    """Yield the same bytes in pieces of `size`; an empty file is one empty piece."""
    held = bytearray()
    emptied = False
    for chunk in chunks:
        held += chunk
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
            emptied = True
    if held or not emptied:
        yield bytes(held)


def _gone(key: str) -> Unavailable:
    return Unavailable(f"The stored file {key!r} is missing or cut.", code="artifact_unavailable")


class DatabaseStore:
    """Rows of 4 MiB, so that a dump of the database is a whole backup."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def write(self, key: str, chunks: Iterable[bytes]) -> int:
        """Store the chunks, each in a short transaction of its own; a failure leaves none."""
        self.delete(key)
        try:
            with room_in("The database's disk, where checkpoints are stored,"):
                return sum(self._add(key, seq, data) for seq, data in enumerate(rechunk(chunks)))
        except BaseException:
            self.delete(key)
            raise

    def _add(self, key: str, seq: int, data: bytes) -> int:
        with transaction(self._engine) as session:
            session.add(ArtifactChunk(key=key, seq=seq, data=data))
        return len(data)

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the range, touching the chunks that it lies in and no others."""
        end = self._whole(key) if end is None else end
        at = start
        while at < end:
            seq, skip = divmod(at, CHUNK)
            take = min(CHUNK - skip, end - at)
            data = self._piece(key, seq, skip, take)
            if len(data) < take:
                raise _gone(key)
            yield data
            at += take

    def _whole(self, key: str) -> int:
        size = self.size(key)
        if size is None:
            raise _gone(key)
        return size

    def _piece(self, key: str, seq: int, skip: int, take: int) -> bytes:
        piece = func.substr(ArtifactChunk.data, skip + 1, take)
        query = select(piece).where(ArtifactChunk.key == key, ArtifactChunk.seq == seq)
        with transaction(self._engine) as session:
            data = session.scalar(query)
        return bytes(data or b"")

    def size(self, key: str) -> int | None:
        """Sum the lengths of the chunks, which does not read them."""
        query = select(func.sum(func.octet_length(ArtifactChunk.data)))
        with transaction(self._engine) as session:
            total = session.scalar(query.where(ArtifactChunk.key == key))
        return None if total is None else int(total)

    def delete(self, prefix: str) -> None:
        """Delete the rows of the key and of all keys below it."""
        with transaction(self._engine) as session:
            session.execute(delete(ArtifactChunk).where(_at_or_below(prefix)))

    def folders(self) -> Iterator[str]:
        """Read the keys, not the bytes."""
        tops = select(func.split_part(ArtifactChunk.key, "/", 1)).distinct()
        with transaction(self._engine) as session:
            found = session.scalars(tops).all()
        yield from found

    def idle_seconds(self, folder: str) -> float | None:
        """Ask the database's clock about the newest chunk."""
        idle = func.clock_timestamp() - func.max(ArtifactChunk.created_at)
        query = select(extract("epoch", idle)).where(_at_or_below(folder))
        with transaction(self._engine) as session:
            found = session.scalar(query)
        return None if found is None else float(found)

    def check(self) -> None:
        """Ask the database for an answer."""
        with transaction(self._engine) as session:
            session.execute(text("SELECT 1"))


def _at_or_below(prefix: str) -> ColumnElement[bool]:
    prefix = prefix.rstrip("/")
    below = ArtifactChunk.key.startswith(f"{prefix}/", autoescape=True)
    return or_(ArtifactChunk.key == prefix, below)


class FileStore:
    """Files below one folder; a file is there whole or not at all."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def _path(self, key: str) -> Path:
        path = (self._root / key).resolve()
        if not path.is_relative_to(self._root.resolve()) or path == self._root.resolve():
            raise Invalid(f"The key {key!r} leads out of the store.", code="invalid_key")
        return path

    def write(self, key: str, chunks: Iterable[bytes]) -> int:
        """Write beside the place, flush to the disk, and rename into it."""
        path = self._path(key)
        with room_in("The folder where checkpoints are stored (ARTIFACTS_URL)"):
            return self._put(path, chunks)

    def _put(self, path: Path, chunks: Iterable[bytes]) -> int:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        new = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                size = sum(file.write(chunk) for chunk in chunks)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
        _sync_folders(path.parent, self._root)
        return size

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the range in pieces of at most 1 MiB."""
        left = None if end is None else end - start
        try:
            with self._path(key).open("rb") as file:
                file.seek(start)
                while left is None or left > 0:
                    data = file.read(1 << 20 if left is None else min(1 << 20, left))
                    if not data:
                        break
                    left = None if left is None else left - len(data)
                    yield data
        except FileNotFoundError:
            raise _gone(key) from None
        if left:
            raise _gone(key)

    def size(self, key: str) -> int | None:
        """Ask the file system."""
        path = self._path(key)
        return path.stat().st_size if path.is_file() else None

    def delete(self, prefix: str) -> None:
        """Remove the file, or the folder with all that is in it."""
        path = self._path(prefix)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def folders(self) -> Iterator[str]:
        """List the top folder."""
        if self._root.is_dir():
            yield from (path.name for path in self._root.iterdir())

    def idle_seconds(self, folder: str) -> float | None:
        """Look at the newest change of a file or folder, half-written ones included."""
        path = self._path(folder)
        if not path.exists():
            return None
        newest = max(_changed_at(found) for found in (path, *path.rglob("*")))
        return time.time() - newest

    def check(self) -> None:
        """See that the folder is there, or can be made, and can be written to."""
        self._root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._root):
            return


def _changed_at(path: Path) -> float:
    """Return 0 for what has just been removed: that is no sign of a writer."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _sync_folders(folder: Path, root: Path) -> None:
    """Flush the entries of a folder and of those above it, as far as they are ours."""
    while folder.is_relative_to(root):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        folder = folder.parent
