"""Sending a stored file: whole, in ranges, or not at all where the caller has it already."""

import base64
import secrets
from collections.abc import Iterator
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from sqlalchemy import Engine

from app.api.problems import problem
from app.api.ranges import Span, Unsatisfiable, read_ranges
from app.core.storage import Store
from app.services.checkpoints import StoredFile, read_whole

TYPES = {"json": "application/json", "md": "text/markdown; charset=utf-8"}


def send_file(request: Request, file: StoredFile, store: Store, engine: Engine) -> Response:
    """Answer GET or HEAD for a file; only a whole one can be compared with its hash on the way."""
    headers = _headers(file)
    if _matches(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers={"ETag": headers["ETag"]})
    if request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(file.bytes)})
    try:
        spans = read_ranges(_asked_ranges(request, headers["ETag"]), file.bytes)
    except Unsatisfiable:
        return _unsatisfiable(request, file)
    if spans is None:
        headers["Content-Length"] = str(file.bytes)
        return StreamingResponse(read_whole(engine, store, file), headers=headers)
    if len(spans) == 1:
        return _one_part(file, store, spans[0], headers)
    return _many_parts(file, store, spans, headers)


def attachment(name: str) -> str:
    """Return a Content-Disposition for any name (RFC 8187)."""
    plain = name.encode("ascii", "replace").decode().replace('"', "_").replace("\\", "_")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _headers(file: StoredFile) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(file.sha256)).decode()
    return {
        "ETag": f'"sha256:{file.sha256}"',
        "Accept-Ranges": "bytes",
        "Content-Type": TYPES.get(file.name.rpartition(".")[2], "application/octet-stream"),
        "Content-Disposition": attachment(file.name.rpartition("/")[2]),
        "Repr-Digest": f"sha-256=:{digest}:",
        "Cache-Control": "private, no-transform",
    }


def _matches(header: str | None, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in (header or "").split(",")]
    return "*" in tags or etag in tags


def _asked_ranges(request: Request, etag: str) -> str | None:
    """Return the Range header unless If-Range names another version; weak tags never match."""
    condition = request.headers.get("if-range")
    return request.headers.get("range") if condition in {None, etag} else None


def _unsatisfiable(request: Request, file: StoredFile) -> Response:
    return problem(
        request.scope,
        416,
        "range_not_satisfiable",
        f"The file has {file.bytes} bytes, and no range lies in it.",
        headers={"Content-Range": f"bytes */{file.bytes}"},
    )


def _one_part(file: StoredFile, store: Store, span: Span, headers: dict[str, str]) -> Response:
    headers["Content-Range"] = span.described(file.bytes)
    headers["Content-Length"] = str(span.length)
    return StreamingResponse(store.read(file.key, span.start, span.end), 206, headers)


def _many_parts(
    file: StoredFile, store: Store, spans: list[Span], headers: dict[str, str]
) -> Response:
    boundary = secrets.token_hex(16)
    heads = [_part_head(boundary, headers["Content-Type"], span, file.bytes) for span in spans]
    tail = f"\r\n--{boundary}--\r\n".encode()

    def body() -> Iterator[bytes]:
        for head, span in zip(heads, spans, strict=True):
            yield head
            yield from store.read(file.key, span.start, span.end)
        yield tail

    size = sum(map(len, heads)) + sum(span.length for span in spans) + len(tail)
    headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
    headers["Content-Length"] = str(size)
    return StreamingResponse(body(), 206, headers)


def _part_head(boundary: str, kind: str, span: Span, size: int) -> bytes:
    lines = (f"--{boundary}", f"Content-Type: {kind}", f"Content-Range: {span.described(size)}")
    return ("\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode()
