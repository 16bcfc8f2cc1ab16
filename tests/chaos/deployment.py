"""A service as an operator deploys it: every program a process, and the worker one to replace."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from sqlalchemy import Engine, create_engine

from app.core.children import Child
from app.core.embedded import embedded_postgres
from app.core.settings import Settings
from app.standalone import children, free_port, prepare
from cyclealign.client import Client
from cyclealign.errors import ApiError, Unreachable
from tests.judge_server import Act, Handler, JudgeServer, after, ranks, running_judge
from tests.stack.running import write_catalogue
from tests.tiny import tiny_model_folder

LATENCY = (0.05, 0.3)
"""Seconds until the judge answers."""
UP_SECONDS = 60
QUICK = {
    "JUDGE_KEY": "sk-canary-0123456789",
    "THREADS": "1",
    "DISPATCH_SECONDS": "0.2",
    "RENUDGE_SECONDS": "3",
}


@dataclass
class Deployment:
    """What runs, and the ways in; `worker` is the one that takes new jobs."""

    client: Client
    engine: Engine
    judge: JudgeServer
    folder: Path
    worker: Child

    def replace_worker(self) -> Child:
        """Ask the worker to leave and start its successor at once; return the leaving one."""
        leaving = self.worker
        self.worker = replace(leaving, process=None)
        leaving.ask()
        self.worker.keep_running()
        return leaving

    def runners(self) -> list[psutil.Process]:
        """List the processes of runners below the worker."""
        assert self.worker.process is not None
        below = psutil.Process(self.worker.process.pid).children(recursive=True)
        return [process for process in below if _is_runner(process)]


@contextmanager
def deployed(folder: Path, **settings: str) -> Iterator[Deployment]:
    """Run PostgreSQL, the API, a dispatcher, a worker and a judge, with a tiny model to train."""
    model = tiny_model_folder(folder / "tiny", chat_template=True)
    data = folder / "data"
    data.mkdir()
    with (
        running_judge(otherwise=_takes_its_time(random.Random(0))) as judge,
        embedded_postgres(data / "postgres") as server,
    ):
        catalogue = write_catalogue(folder, model, judge.url)
        port = free_port("127.0.0.1", 0)
        chosen = Settings(database_url=server.url, data_dir=data, port=port)
        prepare(chosen)
        environment = QUICK | {"CATALOGUE": str(catalogue)} | settings
        programs = [replace(child, env={**child.env, **environment}) for child in children(chosen)]
        with _running(programs), Client(f"http://127.0.0.1:{port}") as client:
            _wait_until_it_answers(client)
            engine = create_engine(server.url)
            deployment = Deployment(client, engine, judge, folder, programs[-1])
            try:
                yield deployment
            finally:
                deployment.worker.stop(threading.Event())
                engine.dispose()


def _takes_its_time(draw: random.Random) -> Act:
    def act(handler: Handler) -> None:
        after(draw.uniform(*LATENCY), ranks())(handler)

    return act


@contextmanager
def _running(programs: list[Child]) -> Iterator[None]:
    try:
        for program in programs:
            program.keep_running()
        yield
    finally:
        for program in reversed(programs):
            program.stop(threading.Event())


def _wait_until_it_answers(client: Client) -> None:
    until = time.monotonic() + UP_SECONDS
    while True:
        try:
            next(client.jobs(), None)
        except (ApiError, Unreachable):
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return


def _is_runner(process: psutil.Process) -> bool:
    try:
        return "worker.runner" in process.cmdline()
    except psutil.Error:
        return False
