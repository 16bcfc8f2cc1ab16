"""Programs that one process keeps running: started anew when they die, stopped in order."""

import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.core.logging import get_logger
from app.core.process import kill_group, start_group, tied

LONGEST_PAUSE = 30.0
STEADY_SECONDS = 60.0
TAIL_BYTES = 2000


@dataclass
class Child:
    """One program, its log, and how long it waits before it is started again after a death."""

    name: str
    command: Sequence[str]
    log: Path
    env: Mapping[str, str]
    grace_seconds: float
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    deaths: int = 0

    def keep_running(self) -> None:
        """Start the program if it does not run and its pause is over."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            self._note_death(self.process, now)
        if self.process is None and now >= self.start_at:
            self._start(now)

    def stop(self, hurry: threading.Event) -> None:
        """Ask it to end; kill its group after the grace, or as soon as there is a hurry."""
        if self.process is None:
            return
        self.ask()
        until = time.monotonic() + self.grace_seconds
        while self.process.poll() is None and time.monotonic() < until and not hurry.is_set():
            time.sleep(0.05)
        kill_group(self.process)
        self.process = None

    def ask(self) -> None:
        """Send SIGTERM to the program alone; what it started is its own to stop."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def tail(self) -> str:
        """Return the end of its log."""
        return self.log.read_bytes()[-TAIL_BYTES:].decode("utf-8", "replace")

    def _start(self, now: float) -> None:
        with self.log.open("ab") as log:
            self.process = start_group(
                tied(self.command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env
            )
        self.started_at = now

    def _note_death(self, process: subprocess.Popen[bytes], now: float) -> None:
        kill_group(process)
        self.process = None
        self.deaths = 1 if now - self.started_at > STEADY_SECONDS else self.deaths + 1
        pause = min(LONGEST_PAUSE, 0.5 * 2**self.deaths)
        self.start_at = now + pause
        get_logger().warning(
            "a child died", child=self.name, code=process.returncode, again_in=pause
        )
