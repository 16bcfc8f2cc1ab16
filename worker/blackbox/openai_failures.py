"""The OpenAI package's exceptions in our words: the one seam where they are translated."""

import email.utils
import math
import time
from collections.abc import Callable

import httpx2
import openai

from worker.blackbox.failures import (
    AskFailure,
    BadRequest,
    ConnectFailed,
    CredentialRejected,
    ModelNotFound,
    NotOpenAi,
    QuotaExhausted,
    RateLimited,
    RedirectRefused,
    ServerFailed,
    TimedOut,
)

_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_BY_STATUS: dict[int, type[AskFailure]] = {
    401: CredentialRejected,
    402: QuotaExhausted,
    403: CredentialRejected,
    404: ModelNotFound,
    408: TimedOut,
    409: ServerFailed,
    429: RateLimited,
    504: TimedOut,
}
_REDIRECTS, _CLIENT_ERRORS, _SERVER_ERRORS = range(300, 400), range(400, 500), range(500, 600)


def failure_of(error: openai.APIError) -> AskFailure:
    """Translate any exception of a request; `detail` is the endpoint's own message, uncut."""
    match error:
        case openai.APIStatusError():
            return _of_status(error)
        case openai.APIConnectionError():
            return _of_connection(error)
        case _:
            return NotOpenAi(error.message, maybe_paid=True)


def _of_connection(error: openai.APIConnectionError) -> AskFailure:
    """Nothing was sent if no connection came about; else the judge may be at work, or paid."""
    cause = error.__cause__
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return ConnectFailed(_named(cause))
    if isinstance(error, openai.APITimeoutError):
        return TimedOut("no answer within the time limit", maybe_paid=True)
    return ConnectFailed(_named(cause or error), maybe_paid=True)


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _of_status(error: openai.APIStatusError) -> AskFailure:
    status = error.status_code
    if status in _REDIRECTS:
        return RedirectRefused(f"HTTP {status} to {error.response.headers.get('location')}")
    kind = _kind(error)
    return kind(
        f"HTTP {status}: {error.message}",
        retry_after=_retry_after(error.response.headers.get("retry-after"), time.time),
        maybe_paid=kind is TimedOut,
    )


def _kind(error: openai.APIStatusError) -> type[AskFailure]:
    """An exhausted quota comes as a 429 too; no wait helps there."""
    if {error.code, error.type} & _QUOTA_CODES:
        return QuotaExhausted
    if error.status_code in _BY_STATUS:
        return _BY_STATUS[error.status_code]
    if error.status_code in _SERVER_ERRORS:
        return ServerFailed
    return BadRequest if error.status_code in _CLIENT_ERRORS else NotOpenAi


def _retry_after(header: str | None, now: Callable[[], float]) -> float | None:
    """Seconds to wait, from a number or an HTTP date; None if there is no sense in it."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        seconds = _until(header, now)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _until(date: str, now: Callable[[], float]) -> float:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - now()
    except (ValueError, OverflowError):
        return math.nan
