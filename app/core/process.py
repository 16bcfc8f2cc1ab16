"""Child processes that never outlive their parent, and process groups that stop when told to.

Run as a program (`python -m app.core.process PARENT_PID COMMAND...`) it becomes the command, which
then dies with that parent.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1
OOM_COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat"))
"""Where Linux counts what it killed for want of memory: of this container, of the machine."""
KILLED_SECONDS = 10
"""A killed process is gone in less, unless it hangs in the kernel."""


def die_with_parent(expected_parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies; exit if it has died already.

    The kernel watches the parent's thread that started this process. Other systems than Linux
    have no such call; there only a word is said.
    """
    if sys.platform != "linux":
        sys.stderr.write("This system cannot tie a process to its parent's life.\n")
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != expected_parent_pid:
        sys.exit("The parent process is gone.")


def tied(command: Sequence[str]) -> list[str]:
    """Wrap a command so that it dies with this process."""
    return [sys.executable, "-m", __name__, str(os.getpid()), *command]


def oom_kills(counters: Sequence[Path] = OOM_COUNTERS) -> int:
    """Return how many processes the kernel has killed here for want of memory; 0 if unknown."""
    for path in counters:
        lines = path.read_text().splitlines() if path.exists() else []
        for name, _, count in (line.partition(" ") for line in lines):
            if name == "oom_kill":
                return int(count)
    return 0


def start_group(
    command: Sequence[str],
    *,
    stdin: int | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, so that a terminal's Ctrl-C does not reach it."""
    return subprocess.Popen(  # noqa: S603 - an argument list of our own, no shell
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=env,
        cwd=cwd,
        start_new_session=True,
    )


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the program and all that it started, and reap it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        process.poll()
    process.wait(KILLED_SECONDS)


def stop_group(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """Ask the program to end; kill what is left of its group after the grace."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        sys.stderr.write(f"Process {process.pid} did not stop in time and is killed.\n")
    kill_group(process)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - becoming the command is the purpose
