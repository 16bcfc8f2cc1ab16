"""The standalone stack, started as a program: nothing of it is imported here."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, Never

from cyclealign.errors import NotStarted

READY = "cyclealign is up at "
STOP_SECONDS = 60
TAIL_LINES = 20
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def become_stack(port: int | None, data_dir: Path | None) -> Never:
    """Replace this process by the stack, which then has the terminal and its Ctrl-C to itself."""
    command = _command(port, data_dir)
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 - no shell, and our own interpreter


@contextmanager
def running_stack(data_dir: Path) -> Iterator[str]:
    """Run the stack on a free port while the block runs; yields its URL.

    Ctrl-C, SIGTERM and a closed terminal raise `KeyboardInterrupt` in the block; the stack then
    gives a running job back and stops. Raises `NotStarted`, with the end of its log.
    """
    log_path = data_dir / "logs" / "standalone.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    for number in STOPPING:
        signal.signal(number, _interrupt)
    with log_path.open("w", encoding="utf-8") as log:
        process = _start(_command(0, data_dir), log)
        try:
            yield _url(process, log_path)
        finally:
            _stop(process)


def _command(port: int | None, data_dir: Path | None) -> list[str]:
    options: list[str] = []
    if port is not None:
        options += ["--port", str(port)]
    if data_dir is not None:
        options += ["--data-dir", str(data_dir)]
    return [sys.executable, "-m", "app.standalone", *options]


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
