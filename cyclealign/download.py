"""Downloads of checkpoints: resumed where they broke off, verified before they get their name."""

import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import httpx2

from cyclealign.errors import ApiError, Corrupt, Unreachable

Json = dict[str, Any]
TRIES = 4
CHUNK = 1 << 20
RANGE_NOT_SATISFIABLE = 416
PARTIAL = 206


class Source(Protocol):
    """Where bytes come from; `Client` is one."""

    def stream(
        self, path: str, headers: Mapping[str, str] | None = None
    ) -> AbstractContextManager[httpx2.Response]:
        """Open one download."""
        ...


def fetch_files(source: Source, checkpoint: Json, folder: Path) -> list[Path]:
    """Download the files of a checkpoint that users load; returns their paths."""
    wanted = [file for file in checkpoint["manifest"]["files"] if file["role"] != "training_state"]
    return [_fetch(source, checkpoint["id"], file, folder) for file in wanted]


def fetch_archive(source: Source, checkpoint: Json, path: Path) -> Path:
    """Download the tar archive of a checkpoint to `path` and verify it file by file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with source.stream(f"/v1/checkpoints/{checkpoint['id']}/archive") as answer:
        _write(answer, part, append=False)
    _verify_archive(part, checkpoint["manifest"]["files"])
    return part.rename(path)


def _fetch(source: Source, checkpoint_id: str, file: Json, folder: Path) -> Path:
    path = _inside(folder, file["name"])
    if path.is_file() and _sha256(path) == file["sha256"]:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    url = f"/v1/checkpoints/{checkpoint_id}/files/{file['name']}"
    for attempt in range(1, TRIES + 1):
        try:
            _continue(source, url, file, part)
            break
        except Unreachable:
            if attempt == TRIES:
                raise
    return _accept(part, file, path)


def _continue(source: Source, url: str, file: Json, part: Path) -> None:
    """Fetch what is missing of `part`; a server that ignores the range starts it anew."""
    have = part.stat().st_size if part.exists() else 0
    if have == file["bytes"] and have > 0:
        return
    headers = {"Range": f"bytes={have}-", "If-Range": f'"{file["sha256"]}"'} if have else {}
    try:
        with source.stream(url, headers) as answer:
            _write(answer, part, append=answer.status_code == PARTIAL)
    except ApiError as error:
        if error.status != RANGE_NOT_SATISFIABLE:
            raise
        part.unlink()
        raise Unreachable(f"The service has no such range of {url}.") from error


def _write(answer: httpx2.Response, part: Path, *, append: bool) -> None:
    with part.open("ab" if append else "wb") as out:
        for chunk in answer.iter_bytes(CHUNK):
            out.write(chunk)


def _accept(part: Path, file: Json, path: Path) -> Path:
    found = _sha256(part)
    if found != file["sha256"]:
        part.unlink()
        raise Corrupt(f"{file['name']} has sha256 {found}, its manifest says {file['sha256']}.")
    return part.rename(path)


def _verify_archive(path: Path, files: list[Json]) -> None:
    missing = {file["name"]: file["sha256"] for file in files}
    with tarfile.open(path) as archive:
        for name, digest in _digests(archive):
            expected = missing.pop(name, None)
            if expected not in (None, digest):
                raise Corrupt(f"{name} has sha256 {digest}, its manifest says {expected}.")
    lost = [name for name in missing if not name.startswith("training_state")]
    if lost:
        raise Corrupt(f"The archive lacks {', '.join(sorted(lost))}.")


def _digests(archive: tarfile.TarFile) -> Iterator[tuple[str, str]]:
    for member in archive:
        content = archive.extractfile(member)
        if content is not None:
            with content:
                yield member.name, hashlib.file_digest(content, "sha256").hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _inside(folder: Path, name: str) -> Path:
    """Return the file's place; a name that leaves the folder is refused."""
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise Corrupt(f"The manifest names {name!r}, which is no place inside the folder.")
    return folder.joinpath(*parts.parts)
