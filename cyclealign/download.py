"""Downloads of checkpoints: resumed where they broke off, verified before they get their name."""

import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

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
    return [_fetch(source, checkpoint["id"], file, folder) for file in _useful(checkpoint)]


def fetch_archive(source: Source, checkpoint: Json, path: Path) -> Path:
    """Download the tar archive of a checkpoint to `path` and verify it file by file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with source.stream(f"/v1/checkpoints/{checkpoint['id']}/archive") as answer:
        _write(answer, part, append=False)
    _verify_archive(part, checkpoint)
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
    headers = {"Range": f"bytes={have}-", "If-Range": f'"sha256:{file["sha256"]}"'} if have else {}
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
        for chunk in answer.iter_bytes():
            out.write(chunk)


def _accept(part: Path, file: Json, path: Path) -> Path:
    found = _sha256(part)
    if found != file["sha256"]:
        part.unlink()
        raise Corrupt(f"{file['name']} has sha256 {found}, its manifest says {file['sha256']}.")
    return part.rename(path)


def _verify_archive(path: Path, checkpoint: Json) -> None:
    """Compare every file of the archive with the manifest; all of them lie below one folder."""
    missing = {f"{checkpoint['id']}/{file['name']}": file["sha256"] for file in _useful(checkpoint)}
    for name, digest in _digests(path):
        expected = missing.pop(name, digest)
        if expected != digest:
            raise Corrupt(f"{name} has sha256 {digest}, its manifest says {expected}.")
    if missing:
        raise Corrupt(f"The archive lacks {', '.join(sorted(missing))}.")


def _useful(checkpoint: Json) -> list[Json]:
    """Return the files that users load: all but the state of training."""
    return [file for file in checkpoint["manifest"]["files"] if file["role"] != "training_state"]


def _digests(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:
                    with content:
                        yield member.name, _digest(content)
    except tarfile.TarError as error:
        raise Corrupt(f"{path} is no whole archive: {error}.") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return _digest(file)


def _digest(content: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := content.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _inside(folder: Path, name: str) -> Path:
    """Return the file's place; a name that leaves the folder is refused."""
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise Corrupt(f"The manifest names {name!r}, which is no place inside the folder.")
    return folder.joinpath(*parts.parts)
