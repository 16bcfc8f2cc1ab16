"""The one error body of every path: problem details (RFC 9457) with OpenAI's `error` member."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from starlette.responses import JSONResponse
from starlette.types import Scope

from app.core.errors import (
    AlignError,
    Conflict,
    FaultAt,
    Invalid,
    NotFound,
    TooLarge,
    Unavailable,
    Unsupported,
)

STATUS: dict[type[AlignError], int] = {
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    Unsupported: 415,
    Invalid: 422,
    Unavailable: 503,
}
"""The only table from categories to statuses."""

STATUS_OF_CODE = {
    "malformed_json": 400,
    "duplicate_key": 400,
    "too_deep": 400,
    "number_too_long": 400,
    "invalid_encoding": 400,
    "invalid_cursor": 400,
    "malformed_multipart": 400,
    "too_many_parts": 400,
    "duplicate_part": 400,
    "invalid_idempotency_key": 400,
    "request_timeout": 408,
    "gone": 410,
    "checkpoint_corrupt": 410,
}
"""Codes whose status is finer than their category's."""

RETRY_SECONDS = "5"
PASSING = {"request_in_progress"}
"""Codes that say, as a 503 does, that the same request may do later."""


class ProblemResponse(JSONResponse):
    """A JSON answer with the media type of problem details."""

    media_type = "application/problem+json"


def status_of(error: AlignError) -> int:
    """Return the HTTP status of an error; a category without one is a fault of ours."""
    return STATUS_OF_CODE.get(error.code) or STATUS.get(type(error), 500)


def listed(faults: Sequence[FaultAt]) -> list[dict[str, Any]]:
    """Render faults as the `errors` member, without empty places."""
    return [
        {
            key: value
            for key, value in (
                ("pointer", fault.pointer),
                ("line", fault.line),
                ("code", fault.code),
                ("message", fault.message),
            )
            if value is not None
        }
        for fault in faults
    ]


def _openai(status: int, code: str, detail: str, errors: Sequence[Mapping[str, Any]]) -> Any:
    first = errors[0] if errors else {}
    place = first.get("parameter") or first.get("pointer", "").strip("/").replace("/", ".")
    kind = "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004  # HTTP's
    return {"message": detail, "type": kind, "code": code, "param": place or None}


def problem(
    scope: Scope,
    status: int,
    code: str,
    detail: str,
    errors: Sequence[Mapping[str, Any]] = (),
    facts: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> ProblemResponse:
    """Make the answer; `facts` become members of their own, such as `allowed_actions`."""
    request_id = scope.get("state", {}).get("request_id")
    body = {
        **(facts or {}),
        "type": f"urn:cyclealign:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "instance": quote(scope.get("path", "")[:1000]),
        "code": code,
        "request_id": request_id,
        "errors": list(errors),
        "error": _openai(status, code, detail, errors),
    }
    passes = status == 503 or code in PASSING  # noqa: PLR2004  # HTTP's
    extra = {"Retry-After": RETRY_SECONDS} if passes else {}
    return ProblemResponse(body, status, {**extra, **(headers or {})})


def problem_of(scope: Scope, error: AlignError) -> ProblemResponse:
    """Make the answer to an error of ours; what is no caller's business stays unsaid."""
    status = status_of(error)
    if status == 500:  # noqa: PLR2004  # HTTP's
        return problem(scope, 500, "internal_error", "Something broke here; it is logged.")
    return problem(scope, status, error.code, error.detail, listed(error.faults), error.facts)
