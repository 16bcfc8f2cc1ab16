"""The whole stack as processes: `python -m app.standalone` with an operator's catalogue."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclealign.client import Client

READY = "cyclealign is up at "
START_SECONDS = 90
ENDED = {"succeeded", "failed", "cancelled"}


@dataclass(frozen=True)
class Stack:
    """A stack that is up."""

    url: str
    folder: Path
    process: subprocess.Popen[str]

    def client(self) -> Client:
        """Open a client."""
        return Client(self.url)


def write_catalogue(folder: Path, model: Path, judge_url: str | None = None) -> Path:
    """Write a catalogue with one tiny model, the rubric, and an OpenAI judge if one is up."""
    lines = [
        "[models.tiny]",
        f'source = {{ type = "folder", path = "{model}" }}',
        "[judges.rubric]",
        'type = "rubric"',
    ]
    if judge_url:
        lines += [
            "[judges.endpoint]",
            'type = "openai"',
            f'base_url = "{judge_url}"',
            'model = "judge-1"',
            'credential_env = "JUDGE_KEY"',
            "price = { input = 150000, output = 600000 }",
        ]
    path = folder / "catalogue.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


@contextmanager
def running(folder: Path, catalogue: Path, settings: Mapping[str, str]) -> Iterator[Stack]:
    """Start the standalone stack in a folder, and stop it as Ctrl-C would."""
    environment = os.environ | {
        "CATALOGUE": str(catalogue),
        "DATA_DIR": str(folder / "data"),
        "JUDGE_KEY": "sk-canary-0123456789",
        "THREADS": "1",
        "LEASE_SECONDS": "4",
        "HEARTBEAT_SECONDS": "1",
        "REAP_SECONDS": "1",
        "RENUDGE_SECONDS": "3",
        "STOP_GRACE_SECONDS": "4",
        "DRAIN_SECONDS": "20",
        **settings,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "app.standalone", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        yield Stack(_address(process), folder, process)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        if process.stdout:
            process.stdout.close()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    for line in process.stdout:
        if line.startswith(READY):
            return line.removeprefix(READY).strip()
    raise AssertionError(f"the stack did not start; exit code {process.wait(5)}")


def wait_for(client: Client, job_id: str, *, seconds: float = 240) -> dict[str, Any]:
    """Poll a job until it ends."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        job = client.job(job_id)
        if job["status"] in ENDED:
            return job
        time.sleep(0.3)
    raise AssertionError(f"{job_id} did not end within {seconds} s: {job}")
