"""POSTs that may be sent again: an Idempotency-Key makes equal requests one request.

It is the header of the IETF's draft (draft-ietf-httpapi-idempotency-key-header-07), but for its
quotes, which are taken as part of the key.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from fastapi.concurrency import contextmanager_in_threadpool, run_in_threadpool
from fastapi.routing import APIRoute
from sqlalchemy.orm import Session

from app.api.deps import get_workspace
from app.api.strict_json import read_json
from app.core.db import transaction
from app.core.errors import Conflict, Invalid
from app.core.models import AnsweredRequest
from app.services import idempotency
from app.services.idempotency import Named

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
TRIES, EVERY_SECONDS = 40, 0.05
"""How long a request waits for an equal one that is under way."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}")

Handler = Callable[[Request], Awaitable[Response]]


def _declared(
    key: Annotated[  # names the header for the document; the route reads it
        str | None,
        Header(
            alias=HEADER,
            description="Any name of your own for this request, such as a UUID. Sent again within "
            "a day, it does nothing more and is answered as before.",
            examples=["8e03978e-40d5-43e8-bc93-6894a57f9324"],
        ),
    ] = None,
) -> None:
    pass


class OnceRoute(APIRoute):
    """A route whose POSTs do once what is asked under one key, however often it is sent."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **given: Any) -> None:
        """Declare the header, unless a router that is included has done it before."""
        known = list(given.pop("dependencies", None) or ())
        posts = "POST" in (given.get("methods") or ())
        if posts and all(one.dependency is not _declared for one in known):
            known.append(Depends(_declared))
        super().__init__(path, endpoint, dependencies=known, **given)

    def get_route_handler(self) -> Any:
        """Wrap the handler of a POST that names itself."""
        handle = super().get_route_handler()

        async def once(request: Request) -> Response:
            key = request.headers.get(HEADER)
            if request.method != "POST" or key is None:
                return await handle(request)
            return await _once(request, await _named(request, key), handle)

        return once


async def _named(request: Request, key: str) -> Named:
    if not _KEY.fullmatch(key):
        message = f"{HEADER} has 1 to 255 visible ASCII characters."
        raise Invalid(message, code="invalid_idempotency_key")
    body = await request.body()
    asked = [request.url.query, read_json(body) if body else None]
    sha256 = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    return Named(get_workspace(), request.url.path, key, sha256)


async def _once(request: Request, named: Named, handle: Handler) -> Response:
    """Wait without a connection or thread while an equal request is under way."""
    for _ in range(TRIES):
        begun = transaction(request.app.state.engine)
        async with contextmanager_in_threadpool(begun) as session:
            if await run_in_threadpool(idempotency.hold, session, named):
                return await _held(request, session, named, handle)
        await asyncio.sleep(EVERY_SECONDS)
    raise Conflict(
        "The first request with this key is still under way; send it again soon.",
        code="request_in_progress",
    )


async def _held(request: Request, session: Session, named: Named, handle: Handler) -> Response:
    known = await run_in_threadpool(idempotency.answered, session, named)
    if known is not None:
        return _again(known)
    request.state.session = session
    answer = await handle(request)
    location, body = answer.headers.get("Location"), bytes(answer.body).decode()
    idempotency.keep(session, named, answer.status_code, location, body)
    return answer


def _again(known: AnsweredRequest) -> Response:
    headers = {REPLAYED: "true"} | ({"Location": known.location} if known.location else {})
    return Response(known.body, known.status, headers, media_type="application/json")
