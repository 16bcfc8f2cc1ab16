"""The one-command stack, as a user starts, kills and stops it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.stack, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


class Standalone:
    """A started stack; `address` is what it printed."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        env = {k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "BROKER_URL"}}
        command = [sys.executable, "-m", "app.standalone", "--data-dir", str(data_dir), *options]
        self.process = subprocess.Popen(
            command,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        self.address = ""

    def up(self) -> "Standalone":
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("cyclealign is up at http://127.0.0.1:"), line
        self.address = line.split()[-1]
        return self

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.address + "/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False

    def child(self, name: str) -> int | None:
        """Return the process id of the child with this word in its command line."""
        for pid in children_of(self.process.pid):
            if name in Path(f"/proc/{pid}/cmdline").read_text():
                return pid
        return None

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=40)
        return self.process.returncode


def children_of(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def eventually(look: Callable[[], object], seconds: float = 15) -> None:
    until = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)


def is_gone(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


def postmaster(data_dir: Path) -> int:
    lock = data_dir / "postgres" / "postmaster.pid"
    words = lock.read_text().split() if lock.exists() else []
    return int(words[0]) if words else 0  # the file is there a moment before its first line


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """Make a folder whose path is too long for a socket; stop its server whatever happened."""
    folder = tmp_path / ("long" * 24)
    yield folder
    if left := postmaster(folder):
        os.kill(left, signal.SIGQUIT)


def test_the_stack_comes_up_heals_survives_a_kill_and_goes_down(data_dir: Path) -> None:
    stack = Standalone(data_dir, "--port", "0").up()
    assert stack.answers()

    api = stack.child("uvicorn")
    assert api is not None
    os.kill(api, signal.SIGKILL)
    eventually(lambda: stack.child("uvicorn") not in {None, api} and stack.answers())

    dead = postmaster(data_dir)
    os.kill(dead, signal.SIGKILL)
    eventually(lambda: postmaster(data_dir) != dead and stack.answers())

    second = Standalone(data_dir, "--port", "0")
    assert "another cyclealign runs on the data folder" in second.process.communicate()[1]
    assert second.process.returncode == 1

    family = children_of(stack.process.pid)
    family += [pid for child in family for pid in children_of(child)]
    assert len(family) == 4
    stack.end(signal.SIGKILL)
    eventually(lambda: all(map(is_gone, family)))
    server = postmaster(data_dir)
    assert not is_gone(server)

    again = Standalone(data_dir, "--port", "0").up()
    assert postmaster(data_dir) == server
    assert again.end(signal.SIGINT) == 0
    assert is_gone(server)


def test_a_second_ctrl_c_hurries(data_dir: Path) -> None:
    stack = Standalone(data_dir, "--port", "0").up()
    worker = stack.child("celery")
    assert worker is not None
    os.kill(worker, signal.SIGSTOP)
    start = time.monotonic()
    stack.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert stack.end(signal.SIGINT) == 0
    assert time.monotonic() - start < 8
    assert is_gone(worker)


def test_a_taken_port_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        stack = Standalone(tmp_path, "--port", port)
        error = stack.process.communicate()[1]
    assert f"port {port} of 127.0.0.1 cannot be used" in error
    assert stack.process.returncode == 1
    assert not (tmp_path / "postgres").exists()


def test_a_folder_with_a_blank_is_refused_with_a_reason(tmp_path: Path) -> None:
    stack = Standalone(tmp_path / "my data", "--port", "0")
    assert "no blanks" in stack.process.communicate()[1]
    assert stack.process.returncode == 1
