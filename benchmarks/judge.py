"""A judge on loopback, in a process of its own, and the thin client by which all systems ask it.

It speaks chat completions. The last user message that opens with `{` holds the task: `dialogue`
and `candidates`, as the service's own ranking prompt writes them. Latency is keyed by the request
and the latency seed, the ranking by dialogue and texts alone: neither the order of the candidates
nor the time of the call changes it.
"""

import argparse
import asyncio
import hashlib
import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from benchmarks.children import command, environment
from benchmarks.lengths import log_normal, uniform
from worker.blackbox.rubric import points
from worker.cycle.types import Dialogue, Message

SIGMA = 0.3
"""Spread of the logarithm of the latency."""
PARALLEL = 128
"""Calls that one client has on the way at most."""

Mode = Literal["keyed", "score"]


@dataclass(frozen=True)
class Manner:
    """How the judge answers."""

    mean_seconds: float
    latency_seed: int = 0
    mode: Mode = "keyed"
    """`keyed` ranks by hash; `score` by the service's built-in rubric."""

    def latency(self, body: bytes) -> float:
        """Seconds until this request is answered."""
        at = uniform(self.latency_seed, "latency", hashlib.sha256(body).hexdigest())
        return log_normal(self.mean_seconds, SIGMA, at)

    def ranking(self, task: dict[str, Any]) -> list[int]:
        """The ids of the task's candidates, best to worst."""
        dialogue = task["dialogue"]
        worth = _rubric if self.mode == "score" else _nothing
        order = sorted(
            task["candidates"],
            key=lambda each: (-worth(dialogue, each["response"]), _key(dialogue, each["response"])),
        )
        return [each["id"] for each in order]


class JudgeClient:
    """Asks the judge at a URL; calls run in threads, so that many can be on the way."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._path = f"{parts.path.rstrip('/')}/chat/completions"
        self._kept = threading.local()
        self._opened: list[http.client.HTTPConnection] = []
        self._threads = ThreadPoolExecutor(PARALLEL, thread_name_prefix="judge")
        self._lock = threading.Lock()
        self.calls = 0

    def ask(self, dialogue: Dialogue, responses: Sequence[str]) -> tuple[int, ...]:
        """Indices of the responses, best to worst."""
        return self._exchange(_request(dialogue, responses))

    def submit(self, dialogue: Dialogue, responses: Sequence[str]) -> "Future[tuple[int, ...]]":
        """Ask at once and wait later."""
        return self._threads.submit(self.ask, dialogue, responses)

    async def ask_async(self, dialogue: Dialogue, responses: Sequence[str]) -> tuple[int, ...]:
        """`ask` as a coroutine."""
        return await asyncio.wrap_future(self.submit(dialogue, responses))

    def close(self) -> None:
        """Wait for calls on the way and close the connections."""
        self._threads.shutdown()
        for connection in self._opened:
            connection.close()

    def _exchange(self, body: bytes) -> tuple[int, ...]:
        connection = self._connection()
        connection.request("POST", self._path, body, {"content-type": "application/json"})
        response = connection.getresponse()
        reply = response.read()
        if response.status != http.client.OK:
            raise RuntimeError(f"the judge answered {response.status}")
        with self._lock:
            self.calls += 1
        return tuple(json.loads(json.loads(reply)["choices"][0]["message"]["content"])["ranking"])

    def _connection(self) -> http.client.HTTPConnection:
        """One kept connection a thread."""
        if not hasattr(self._kept, "connection"):
            self._kept.connection = http.client.HTTPConnection(self._host, self._port)
            with self._lock:
                self._opened.append(self._kept.connection)
        kept: http.client.HTTPConnection = self._kept.connection
        return kept


@contextmanager
def running_judge(
    mean_seconds: float, *, latency_seed: int = 0, mode: Mode = "keyed"
) -> Iterator[str]:
    """Serve until the block ends; gives the base URL."""
    arguments = ["--mean", str(mean_seconds), "--latency-seed", str(latency_seed), "--mode", mode]
    with subprocess.Popen(  # noqa: S603 - an argument list of our own, no shell
        command("benchmarks.judge", *arguments),
        env=environment(1),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(timeout=10)


async def serve(manner: Manner) -> None:
    """Serve on a free port, print the base URL, and end when standard input does."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _talk(reader, writer, manner)

    server = await asyncio.start_server(talk, "127.0.0.1", 0, limit=2**22, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}/v1", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


def main() -> None:
    """Run the judge; it ends with its parent, who holds the other end of standard input."""
    parser = argparse.ArgumentParser(description="A judge on loopback for benchmarks.")
    parser.add_argument("--mean", type=float, default=0.5, help="mean latency in seconds")
    parser.add_argument("--latency-seed", type=int, default=0)
    parser.add_argument("--mode", choices=["keyed", "score"], default="keyed")
    given = parser.parse_args()
    asyncio.run(serve(Manner(given.mean, given.latency_seed, given.mode)))


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, manner: Manner) -> None:
    """Answer one connection's requests, one after the other, until it closes."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            body = await reader.readexactly(_content_length(head))
            status, reply = _reply(head, body, manner)
            await asyncio.sleep(manner.latency(body))
            writer.write(_response(status, reply))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _reply(head: str, body: bytes, manner: Manner) -> tuple[str, dict[str, Any]]:
    if not head.startswith("POST ") or "/chat/completions " not in head.partition("\r\n")[0]:
        return "404 Not Found", {"error": {"message": "no such path"}}
    try:
        answer = json.dumps({"ranking": manner.ranking(_task(json.loads(body)))})
    except (ValueError, KeyError, TypeError, LookupError) as error:
        return "400 Bad Request", {"error": {"message": f"no task: {error!r}"}}
    return "200 OK", _completion(answer, len(body))


def _content_length(head: str) -> int:
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(value)
    return 0


def _response(status: str, reply: dict[str, Any]) -> bytes:
    body = json.dumps(reply).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body


def _completion(text: str, size: int) -> dict[str, Any]:
    """A chat completion; its usage takes four bytes for a token."""
    usage = {"prompt_tokens": size // 4, "completion_tokens": 8, "total_tokens": size // 4 + 8}
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": "chatcmpl-benchmark",
        "object": "chat.completion",
        "created": 0,
        "model": "benchmark-judge",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }


def _request(dialogue: Dialogue, responses: Sequence[str]) -> bytes:
    task = {
        "dialogue": [{"role": turn.role, "content": turn.content} for turn in dialogue],
        "candidates": [{"id": k, "response": text} for k, text in enumerate(responses)],
    }
    turn = {"role": "user", "content": json.dumps(task)}
    return json.dumps({"model": "benchmark-judge", "messages": [turn]}).encode()


def _task(body: dict[str, Any]) -> dict[str, Any]:
    for turn in reversed(body["messages"]):
        if turn["role"] == "user" and turn["content"].startswith("{"):
            task: dict[str, Any] = json.JSONDecoder().raw_decode(turn["content"])[0]
            return task
    raise LookupError("no message opens with an object")


def _nothing(_dialogue: list[dict[str, str]], _response: str) -> float:
    return 0.0


def _rubric(dialogue: list[dict[str, str]], response: str) -> float:
    turns = tuple(Message(turn["role"], turn["content"]) for turn in dialogue)
    return sum(points(turns, response).values())


def _key(dialogue: list[dict[str, str]], response: str) -> str:
    return hashlib.sha256(json.dumps([dialogue, response]).encode()).hexdigest()


if __name__ == "__main__":
    main()
