"""The HTTP client under the OpenAI package: what may leave this machine and what may come in.

Out goes only what a chat completion needs: the package would add headers of its own and those it
finds in environment variables, which are meant for another host. In comes at most 1 MiB, unpacked,
within the time limit for the whole answer; a server that drips bytes does not hold a run for ever.
"""

import time
from collections.abc import Iterator

import httpx2

from worker.blackbox.failures import NotOpenAi, TimedOut

CONNECT_SECONDS = 5.0
MAX_BODY_BYTES = 1024 * 1024

_UNCOUNTED = httpx2.Limits()
"""Whoever posts bounds the calls in flight; a second bound here would only time out."""
_SENT_HEADERS = frozenset({"host", "content-type", "content-length", "accept", "user-agent"})


def guarded_client(credential: str | None, timeout_seconds: float) -> httpx2.Client:
    """A client that follows no redirect, reads no environment and sends our credential alone."""
    return httpx2.Client(
        transport=GuardedTransport(credential, timeout_seconds),
        timeout=httpx2.Timeout(timeout_seconds, connect=CONNECT_SECONDS),
        follow_redirects=False,
        trust_env=False,
    )


class GuardedTransport(httpx2.BaseTransport):
    """The plain transport between our own rules for headers, size, packing and time."""

    def __init__(self, credential: str | None, timeout_seconds: float) -> None:
        self._inner = httpx2.HTTPTransport(trust_env=False, limits=_UNCOUNTED)
        self._credential = credential
        self._timeout_seconds = timeout_seconds

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request.

        Raises:
            NotOpenAi: the body is packed or too large.
            TimedOut: the body took too long, though bytes kept coming.
        """
        deadline = time.monotonic() + self._timeout_seconds
        self._clean(request.headers)
        response = self._inner.handle_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            response.close()
            raise NotOpenAi("the body is packed although it was asked for plain", maybe_paid=True)
        assert isinstance(response.stream, httpx2.SyncByteStream)
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_Bounded(response.stream, deadline),
            extensions=response.extensions,
        )

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()

    def _clean(self, headers: httpx2.Headers) -> None:
        for name in set(headers) - _SENT_HEADERS:
            del headers[name]
        headers["accept-encoding"] = "identity"
        if self._credential is not None:
            headers["authorization"] = f"Bearer {self._credential}"


class _Bounded(httpx2.SyncByteStream):
    def __init__(self, inner: httpx2.SyncByteStream, deadline: float) -> None:
        self._inner = inner
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        size = 0
        for chunk in self._inner:
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise NotOpenAi(f"the body is larger than {MAX_BODY_BYTES} bytes", maybe_paid=True)
            if time.monotonic() > self._deadline:
                raise TimedOut("the body took longer than the time limit", maybe_paid=True)
            yield chunk

    def close(self) -> None:
        self._inner.close()
