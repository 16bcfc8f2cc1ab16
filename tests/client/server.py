"""A loopback server of checkpoints and lists that can break off, lie and refuse."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

CHECKPOINT = "ckpt_1"


@dataclass
class Content:
    """What the server has, what it does wrong, and what it was asked."""

    files: dict[str, bytes]
    roles: dict[str, str] = field(default_factory=dict)
    break_after: list[int] = field(default_factory=list)
    """For each next download: after how many bytes the connection breaks."""
    swapped: dict[str, bytes] = field(default_factory=dict)
    """Files that are sent with other bytes than the manifest promises."""
    ignores_ranges: bool = False
    posted: list[tuple[str, Any]] = field(default_factory=list)
    """The path and body of each post; it is answered with a queued job."""
    keys: list[str | None] = field(default_factory=list)
    """The Idempotency-Key of each post."""
    lose_answers: int = 0
    """How many of the next posts are not answered."""
    job_states: list[str] = field(default_factory=list)
    """The states that a job goes through, one a look."""
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""

    def manifest(self) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
                "role": self.roles.get(name, "weights"),
            }
            for name, data in self.files.items()
        ]


@contextmanager
def serving(content: Content) -> Iterator[Content]:
    """Serve on a free port of loopback."""

    class Handler(_Handler):
        pass

    Handler.content = content
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    content.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield content
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    content: Content

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        return

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        match url.path.strip("/").split("/", 4):
            case ["v1", "jobs", job]:
                self._job(job)
            case ["v1", "jobs", _, "rankings"]:
                self._page(parse_qs(url.query))
            case ["v1", "checkpoints", _, "files", name]:
                self._file(name)
            case ["v1", "checkpoints", _, "archive"]:
                self._send(200, self._archive(), "application/x-tar")
            case ["v1", "checkpoints", checkpoint]:
                files = self.content.manifest()
                self._json({"id": checkpoint, "manifest": {"files": files}})
            case _:
                self._send(404, b"{}", "application/problem+json")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.content.posted.append((self.path, json.loads(body)))
        self.content.keys.append(self.headers["Idempotency-Key"])
        if self.content.lose_answers > 0:
            self.content.lose_answers -= 1
            self.close_connection = True
            return
        self._json({"id": "job_2", "status": "queued"})

    def _job(self, job: str) -> None:
        match job:
            case "forbidden":
                self._refuse()
            case "broken":
                self._send(502, b"<html>bad gateway</html>", "text/html")
            case "stray":
                self._send(200, b"[]", "application/json")
            case _:
                self._json({"id": job, "status": self.content.job_states.pop(0)})

    def _page(self, query: dict[str, list[str]]) -> None:
        """Serve five rows, two a page, with opaque cursors."""
        start = int(query.get("after", ["row 0"])[0].removeprefix("row "))
        rows = [{"step": step, "stage": query.get("stage")} for step in range(start, 5)][:2]
        end = start + len(rows)
        self._json({"data": rows, "last_id": f"row {end}", "has_more": end < 5})

    def _file(self, name: str) -> None:
        data = self.content.swapped.get(name, self.content.files[name])
        asked = self.headers.get("Range")
        self.content.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        tag = f'"sha256:{hashlib.sha256(data).hexdigest()}"'
        if self.content.ignores_ranges or self.headers.get("If-Range", tag) != tag:
            start = 0
        if start >= len(data) > 0:
            self._send(416, b"{}", "application/problem+json")
            return
        left = data[start:]
        cut = self.content.break_after.pop(0) if self.content.break_after else len(left)
        self._send(206 if start else 200, left, "application/octet-stream", cut)

    def _archive(self) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            for name, data in ({"manifest.json": b"{}"} | self.content.files).items():
                if self.content.roles.get(name) == "training_state":
                    continue
                info = tarfile.TarInfo(f"{CHECKPOINT}/{name}")
                sent = self.content.swapped.get(name, data)
                info.size = len(sent)
                archive.addfile(info, io.BytesIO(sent))
        return out.getvalue()

    def _refuse(self) -> None:
        errors = [
            {"pointer": "/optimizer/lr", "code": "too_large", "message": "At most 1."},
            {"line": 7, "code": "empty_prompt", "message": "The prompt is empty."},
        ]
        body = {
            "status": 422,
            "code": "invalid",
            "detail": "Two things are wrong.",
            "errors": errors,
            "request_id": "req_9",
        }
        self._send(422, json.dumps(body).encode(), "application/problem+json")

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str, cut: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
