"""A judge behind a real HTTP server on loopback: it speaks chat completions, or misbehaves.

`with running_judge() as judge: ...`; every post takes the next act of `judge.script`, or
`judge.otherwise` when the script is over. `tests.judge_by_hand` starts it from a shell.
"""

import gzip
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Act = Callable[["Handler"], None]
Rule = Callable[[dict[str, Any]], list[int]]
"""From a task of the ranking prompt (`dialogue` and `candidates`) to its ids, best to worst."""

TEACHER = "Here is a careful answer that helps and harms nobody."


@dataclass(frozen=True)
class Post:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float = 0.0
    """When it came, by the monotonic clock."""


class JudgeServer(ThreadingHTTPServer):
    """The server and what it saw; `script` and `otherwise` may be changed at any time."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, script: Iterable[Act], otherwise: Act) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.script = deque(script)
        self.otherwise = otherwise
        self.posts: list[Post] = []
        self.closing = threading.Event()
        self.in_flight = 0
        self.most_in_flight = 0
        self._counting = threading.Lock()

    def count(self, more: int) -> None:
        """Note that a post has come, or was answered."""
        with self._counting:
            self.in_flight += more
            self.most_in_flight = max(self.most_in_flight, self.in_flight)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def next_act(self) -> Act:
        try:
            return self.script.popleft()
        except IndexError:
            return self.otherwise

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what some acts are about."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    server: JudgeServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    asked: dict[str, Any]
    """The body of the post that is being answered."""

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.asked = json.loads(raw)
        self.server.posts.append(Post(self.path, headers, self.asked, time.monotonic()))
        self.server.count(1)
        try:
            self.server.next_act()(self)
        finally:
            self.server.count(-1)

    def do_GET(self) -> None:
        """A followed redirect would come as this."""
        self.server.posts.append(Post(self.path, {}, {}))
        self.answer(200, b"{}")

    def answer(
        self,
        status: int,
        body: bytes,
        *,
        kind: str = "application/json",
        headers: dict[str, str] | None = None,
        claimed: int | None = None,
    ) -> None:
        """Send a whole answer; `claimed` is a Content-Length other than the body's."""
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body) if claimed is None else claimed))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
        """Say nothing."""


def longest_first(task: dict[str, Any]) -> list[int]:
    candidates = task["candidates"]
    order = sorted(candidates, key=lambda each: (-len(each["response"]), each["id"]))
    return [each["id"] for each in order]


def task_of(body: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The task that a request asks to rank, and whether it asks for a response as well."""
    for turn in reversed(body["messages"]):
        if turn["role"] == "user" and turn["content"].startswith("{"):
            task, end = json.JSONDecoder().raw_decode(turn["content"])
            return task, '"response": "..."' in turn["content"][end:]
    raise ValueError("no task in the messages")


def completion(text: str | None, **changes: Any) -> dict[str, Any]:
    """A chat completion; `finish` and `refusal` may be given, other keys replace its own."""
    message = {"role": "assistant", "content": text, "refusal": changes.pop("refusal", None)}
    finish = changes.pop("finish", "stop")
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "fake-judge-1",
        "system_fingerprint": "fp_1",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "total_tokens": 110,
            "prompt_tokens_details": {"cached_tokens": 40},
        },
        **changes,
    }


def ranks(rule: Rule = longest_first) -> Act:
    """Do as asked."""

    def act(handler: Handler) -> None:
        task, wants_response = task_of(handler.asked)
        reply: dict[str, Any] = {"ranking": rule(task)}
        if wants_response:
            reply["response"] = TEACHER
        handler.answer(200, json.dumps(completion(json.dumps(reply))).encode())

    return act


def after(seconds: float, act: Act) -> Act:
    """Do it late; a server that closes does not wait."""

    def late(handler: Handler) -> None:
        handler.server.closing.wait(seconds)
        act(handler)

    return late


def once(ready: Callable[[], object], act: Act) -> Act:
    """Do it when `ready` returns, such as a barrier's or an event's wait."""

    def held(handler: Handler) -> None:
        ready()
        act(handler)

    return held


def says(text: str | None, **changes: Any) -> Act:
    """A well-formed completion with any text, `finish` or `refusal`."""
    return sends(json.dumps(completion(text, **changes)).encode())


def sends(body: bytes, *, kind: str = "application/json", status: int = 200) -> Act:
    """Any body at all."""
    return lambda handler: handler.answer(status, body, kind=kind)


def status(
    number: int,
    *,
    code: str | None = None,
    headers: dict[str, str] | None = None,
    message: str = "no",
) -> Act:
    """An error in OpenAI's shape."""
    error = {"error": {"message": message, "type": "error", "param": None, "code": code}}
    body = json.dumps(error).encode()
    return lambda handler: handler.answer(number, body, headers=headers)


def redirects(target: str, number: int = 307) -> Act:
    return lambda handler: handler.answer(number, b"", headers={"location": target})


def html() -> Act:
    return sends(b"<html><body>Welcome</body></html>", kind="text/html")


def hangs(handler: Handler) -> None:
    """Say nothing until the server closes."""
    handler.server.closing.wait()
    handler.close_connection = True


def drops_at_once(handler: Handler) -> None:
    handler.close_connection = True


def drops_after_headers(handler: Handler) -> None:
    handler.answer(200, b"", claimed=500)
    handler.close_connection = True


def half_a_body(handler: Handler) -> None:
    body = json.dumps(completion('{"ranking": [0]}')).encode()
    handler.answer(200, body[: len(body) // 2], claimed=len(body))
    handler.close_connection = True


def endless(handler: Handler) -> None:
    """Spaces without end, as fast as they are taken."""
    handler.answer(200, b"", claimed=10**12)
    while not handler.server.closing.is_set():
        handler.wfile.write(b" " * 65_536)


def drips(handler: Handler) -> None:
    """A byte now and then: no single read times out."""
    handler.answer(200, b"", claimed=10**6)
    while not handler.server.closing.is_set():
        handler.wfile.write(b" ")
        time.sleep(0.05)


def packed(handler: Handler) -> None:
    """A small body that unpacks to a large one."""
    bomb = gzip.compress(b" " * 5_000_000)
    handler.answer(200, bomb, headers={"content-encoding": "gzip"})


@contextmanager
def running_judge(
    script: Iterable[Act] = (), *, otherwise: Act | None = None, port: int = 0
) -> Iterator[JudgeServer]:
    """Serve in a thread until the block ends; port 0 takes a free one."""
    with JudgeServer(port, script, otherwise or ranks()) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
