"""The standalone stack, started as a program: nothing of it is imported here."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Never

from rich.console import Console

from cyclealign.errors import NotStarted

READY = "cyclealign is up at "
STANDALONE = (sys.executable, "-m", "app.standalone")
STOP_SECONDS = 60
INTERRUPTED = 130
"""What a shell expects of a program that Ctrl-C ended."""
TAIL_LINES = 20
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Stack:
    """A stack that is up; `process` ends when it does."""

    url: str
    process: subprocess.Popen[str]


@contextmanager
def running_stack(data_dir: Path, port: int | None = None) -> Iterator[Stack]:
    """Run the stack while the block runs; port 0 takes a free one, none the configured one.

    Ctrl-C, SIGTERM and a closed terminal raise `KeyboardInterrupt` in the block; at its end the
    stack gives a running job back and stops. Raises `NotStarted`, with the end of its log.
    """
    log_path = data_dir / "logs" / "standalone.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    for number in STOPPING:
        signal.signal(number, _interrupt)
    options = [] if port is None else ["--port", str(port)]
    with log_path.open("w", encoding="utf-8") as log:
        process = _start([*STANDALONE, "--data-dir", str(data_dir), *options], log)
        try:
            yield Stack(_url(process, log_path), process)
        finally:
            _stop(process)


def keep_up(console: Console, data_dir: Path, port: int | None) -> int:
    """Run the stack until Ctrl-C; returns 0 then, and 1 if it ended by itself."""
    try:
        with running_stack(data_dir, port) as stack:
            console.print(f"{READY}{stack.url}", soft_wrap=True)
            console.print(f"Ctrl-C stops it. Logs are in {data_dir / 'logs'}.", soft_wrap=True)
            _wait(console, stack)
            return 0 if stack.process.poll() is None else 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _wait(console: Console, stack: Stack) -> None:
    try:
        stack.process.wait()
    except KeyboardInterrupt:
        console.print("Stopping. Unfinished jobs are kept; the next start goes on with them.")


def _start(command: Sequence[str], log: IO[str]) -> subprocess.Popen[str]:
    """Start the stack in its own session: Ctrl-C reaches it through this process alone.

    It is tied to this process, so that even a kill leaves nothing behind.
    """
    tied = (sys.executable, "-m", "app.core.process", str(os.getpid()), *command)
    return subprocess.Popen(  # noqa: S603 - an argument list of our own, no shell
        tied,
        stdout=subprocess.PIPE,
        stderr=log,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def _url(process: subprocess.Popen[str], log_path: Path) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(READY):
            return line.removeprefix(READY).strip()
    process.wait()
    tail = log_path.read_text(encoding="utf-8").splitlines()[-TAIL_LINES:]
    raise NotStarted("\n".join(["The stack did not start.", *tail]))


def _stop(process: subprocess.Popen[str]) -> None:
    """Ask the stack to end and wait for it; asking again hurries it."""

    def ask(_number: int, _frame: FrameType | None) -> None:
        process.send_signal(signal.SIGINT)

    for number in STOPPING:
        signal.signal(number, ask)
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _interrupt(_number: int, _frame: FrameType | None) -> Never:
    raise KeyboardInterrupt
