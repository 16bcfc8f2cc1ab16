"""The service as processes, started anew whenever they die: API, dispatcher, two workers."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import create_engine

from app.core.embedded import Embedded, embedded_postgres
from app.core.process import kill_group, start_group, tied
from app.core.settings import get_settings
from app.standalone import free_port, prepare
from tests.judge_server import JudgeServer, running_judge
from tests.stack.running import write_catalogue
from tests.tiny import tiny_model_folder

WORKERS = 2
LEASE_SECONDS = 3.0
SETTINGS = {
    "THREADS": "1",
    "LEASE_SECONDS": str(LEASE_SECONDS),
    "HEARTBEAT_SECONDS": "0.7",
    "REAP_SECONDS": "0.7",
    "RENUDGE_SECONDS": "3",
    "STOP_GRACE_SECONDS": "3",
    "MAX_STALLS": "1000",
    "MAX_FAILURES": "1000",
    "JUDGE_KEY": "sk-1",
    "LOG_LEVEL": "WARNING",
}
RUNNER, WORKER = "tests.chaos.observed", "tests.chaos.celery_app"


@dataclass
class Program:
    """One program, and its log."""

    name: str
    command: tuple[str, ...]
    log: Path
    env: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None

    def keep_running(self) -> None:
        if self.process is not None and self.process.poll() is None:
            return
        with self.log.open("ab") as log:
            command = tied((sys.executable, "-m", *self.command))
            self.process = start_group(command, stdout=log, stderr=log, env=self.env)


@dataclass
class Stage:
    """All that runs; a thread of its own keeps it up until `close`."""

    folder: Path
    server: Embedded
    judge: JudgeServer
    port: int
    ablate: str = ""
    programs: list[Program] = field(default_factory=list)
    leaving: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    def noted(self, kind: str) -> int:
        """How many notes of a kind the observed runners left."""
        if not self.notes.exists():
            return 0
        lines = self.notes.read_text().splitlines()
        return sum(json.loads(line)["kind"] == kind for line in lines)

    def open(self) -> threading.Thread:
        """Start all and keep it up."""
        env = os.environ | {"CHAOS_NOTES": str(self.notes), "CHAOS_ABLATE": self.ablate}
        where = ("--host", "127.0.0.1", "--port", str(self.port), "--no-access-log")
        worker = ("celery", "-A", WORKER, "worker", "--loglevel=WARNING")
        commands = [
            ("api", ("uvicorn", "app.main:create_app", "--factory", *where)),
            ("dispatcher", ("app.dispatcher",)),
            *((f"worker-{n}", worker) for n in range(WORKERS)),
        ]
        self.programs = [
            Program(name, command, self.folder / f"{name}.log", env) for name, command in commands
        ]
        keeper = threading.Thread(target=self._keep_up)
        keeper.start()
        return keeper

    def _keep_up(self) -> None:
        while not self.leaving.wait(0.2):
            self.server.keep_running()
            for program in self.programs:
                program.keep_running()
        for program in self.programs:
            if program.process is not None:
                kill_group(program.process)

    def processes(self, name: str) -> list[psutil.Process]:
        """All processes of a program, wherever they hang."""
        found = []
        for process in psutil.process_iter():
            try:
                line, cwd = process.cmdline(), process.environ().get("CHAOS_NOTES")
            except psutil.Error:
                continue
            if name in line and cwd == str(self.notes):
                found.append(process)
        return sorted(found, key=lambda process: process.pid)

    def orphans(self) -> list[psutil.Process]:
        """Runners whose supervisor is gone."""
        supervisors = {process.pid for process in self.processes(WORKER)}
        return [one for one in self.processes(RUNNER) if parent_of(one) not in supervisors]


def parent_of(process: psutil.Process) -> int | None:
    """The parent of a process that lives."""
    try:
        return process.ppid() if process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None


@contextmanager
def staged(folder: Path, ablate: str = "") -> Iterator[Stage]:
    """A database and a judge, with this process's own settings set to them; nothing runs yet."""
    model = tiny_model_folder(folder / "tiny", chat_template=True)
    with running_judge() as judge, embedded_postgres(folder / "pg") as server:
        catalogue = write_catalogue(folder, model, judge.url)
        own: dict[str, Any] = {"CATALOGUE": catalogue, "DATA_DIR": folder / "data"}
        before = dict(os.environ)
        os.environ.update({**SETTINGS, **{k: str(v) for k, v in own.items()}})
        os.environ["DATABASE_URL"] = server.url
        get_settings.cache_clear()
        prepare(get_settings())
        stage = Stage(folder, server, judge, free_port("127.0.0.1", 0), ablate)
        try:
            yield stage
        finally:
            stage.leaving.set()
            os.environ.clear()
            os.environ.update(before)
            get_settings.cache_clear()


def open_database(url: str) -> Any:
    return create_engine(url, pool_pre_ping=True)
