"""Pure ASGI: a request's identity, its last resort, and what may come in as a body."""

import re
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from app.api.problems import problem, status_of
from app.api.strict_json import read_json
from app.core.errors import AlignError, TooLarge, Unsupported
from app.core.logging import get_logger
from app.core.models import new_id

MAX_URL_BYTES = 8192
MAX_HEADER_BYTES = 32_768

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class BodyRefused(HTTPException):
    """An error met while the body was read; FastAPI lets HTTP exceptions pass from there."""

    def __init__(self, error: AlignError) -> None:
        super().__init__(status_of(error), error.detail)
        self.error = error


class Boundary:
    """Names every request, bounds its URL and headers, and answers what nobody else caught."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get("x-request-id", "")
        request_id = asked if _REQUEST_ID.fullmatch(asked) else new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id
        with bound_contextvars(request_id=request_id):
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = scope["state"]["request_id"]
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            await (_oversized(scope) or self._app)(scope, receive, named)
        except Exception:
            get_logger().exception("unhandled", path=scope["path"], method=scope["method"])
            if started:
                raise
            answer = problem(scope, 500, "internal_error", "Something broke here; it is logged.")
            await answer(scope, receive, named)


def _oversized(scope: Scope) -> ASGIApp | None:
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_URL_BYTES:
        return problem(scope, 414, "url_too_long", f"URLs have at most {MAX_URL_BYTES} bytes.")
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADER_BYTES:
        return problem(
            scope, 431, "headers_too_large", f"Headers have at most {MAX_HEADER_BYTES} bytes."
        )
    return None


class Bodies:
    """Counts and checks a body when it is first read, so that 404 and 405 need no body.

    `uploads` maps paths whose bodies are files to their limits; all other bodies are strict JSON.
    """

    def __init__(self, app: ASGIApp, json_limit: int, uploads: Mapping[str, int]) -> None:
        self._app, self._json_limit, self._uploads = app, json_limit, uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http" and scope["method"] not in {"GET", "HEAD", "OPTIONS"}:
            headers = Headers(scope=scope)
            limit = self._uploads.get(scope["path"])
            counted = _Counted(receive, headers, limit or self._json_limit)
            receive = counted.receive if limit else _StrictJson(counted, headers).receive
        await self._app(scope, receive, send)


class _Counted:
    """A body that may not grow beyond its limit, whatever its declared length."""

    def __init__(self, receive: Receive, headers: Headers, limit: int) -> None:
        self._receive, self._headers, self._limit, self._seen = receive, headers, limit, 0

    async def receive(self) -> Message:
        if self._seen == 0:
            self._check_headers()
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        self._check(self._seen)
        return message

    def _check_headers(self) -> None:
        if self._headers.get("content-encoding", "identity").lower() != "identity":
            raise BodyRefused(
                Unsupported(
                    "Bodies are read without Content-Encoding.", "unsupported_content_encoding"
                )
            )
        declared = self._headers.get("content-length", "")
        self._check(int(declared) if declared.isdecimal() else 0)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise BodyRefused(
                TooLarge(
                    f"This body may have at most {self._limit} bytes.",
                    facts={"max_bytes": self._limit},
                )
            )


class _StrictJson:
    """Reads the whole body once, checks it, and hands it on."""

    def __init__(self, counted: _Counted, headers: Headers) -> None:
        self._counted, self._headers, self._done = counted, headers, False

    async def receive(self) -> Message:
        if self._done:
            return await self._counted.receive()
        body = b""
        more = True
        while more:
            message = await self._counted.receive()
            if message["type"] == "http.disconnect":
                return message
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self._done = True
        self._check(body)
        return {"type": "http.request", "body": body, "more_body": False}

    def _check(self, body: bytes) -> None:
        if not body:
            return
        kind, _, _ = self._headers.get("content-type", "").partition(";")
        if kind.strip().lower() != "application/json":
            raise BodyRefused(Unsupported("This path reads application/json."))
        try:
            read_json(body)
        except AlignError as error:
            raise BodyRefused(error) from None
