"""Jobs of one spec, one after another, each worked on by children that are forked for it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from sqlalchemy import Engine, NullPool, create_engine, text

from app.core.db import transaction
from app.core.models import Job
from app.core.reaping import reap
from app.core.spec.catalogue import load_catalogue
from app.core.spec.job import JobSpec
from app.services import jobs
from tests import factories
from tests.chaos.killed import Ablation, Order, Point, attempt
from tests.chaos.silence import wait_for_silence
from tests.judge_server import Handler, JudgeServer, after, ranks, running_judge
from tests.stack.jobs import small_job
from tests.stack.running import write_catalogue
from tests.tiny import tiny_model_folder

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__, "deepspeed"])
"""A clean process that loads once all that a child needs, and is forked for every attempt."""

WAITING = "judge waits"
"""The post has arrived and is not answered; here the judge itself kills the one who waits."""

OVER_HTTP, SCORES = "endpoint", "rubric"
JUDGES = (OVER_HTTP, SCORES)
"""Held-out prompts need a judge that gives scores, which an endpoint does not."""

LATENCY = 0.03
"""Seconds that the judge takes, so that lanes have posts in flight together."""


@dataclass
class Arrivals:
    """Counts an attempt's posts as they arrive, and kills it at one of them."""

    kill_at: int | None = None
    victim: int | None = None
    count: int = 0
    alone: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, handler: Handler) -> None:
        with self.alone:
            self.count += 1
            due = self.count == self.kill_at
        if due and self.victim:
            os.kill(self.victim, signal.SIGKILL)
        after(LATENCY, ranks())(handler)


def _heard(hears: Connection) -> list[Point] | None:
    """What a child tells at its end; None if it did not come to that."""
    try:
        passed: list[Point] = hears.recv()
    except EOFError:
        return None
    return passed


@dataclass(frozen=True)
class Bench:
    """One database, one judge and one spec, of which every case is a job."""

    engine: Engine
    judge: JudgeServer
    arrivals: Arrivals
    environ: dict[str, str]
    spec: JobSpec

    def submit(self) -> str:
        """Queue a job that finds no answers of others."""
        catalogue = load_catalogue(Path(self.environ["CATALOGUE"]))
        with transaction(self.engine) as session:
            session.execute(text("DELETE FROM judge_questions"))
            return jobs.submit(session, "ws_default", self.spec, catalogue).id

    def run(
        self, kill_at: Point | None = None, ablate: Ablation | None = None
    ) -> list[Point] | None:
        """Have a child take the queued job; None if it was killed, else the points it passed."""
        waits = kill_at is not None and kill_at.kind == WAITING
        self.arrivals.count, self.arrivals.victim = 0, None
        self.arrivals.kill_at = kill_at.nth if kill_at and waits else None
        hears, tells = FORKS.Pipe(duplex=False)
        order = Order(self.environ, None if waits else kill_at, ablate)
        child = FORKS.Process(target=attempt, args=(order, tells))
        child.start()
        self.arrivals.victim = child.pid
        tells.close()
        with hears:
            passed = _heard(hears)
        child.join()
        if child.exitcode not in {0, -signal.SIGKILL}:
            raise RuntimeError(f"the attempt ended with {child.exitcode}; its own words say why")
        return passed

    def take_back(self, ablate: Ablation | None) -> int:
        """Reap the killed child's job once the server has noticed; return its posts in flight."""
        wait_for_silence(self.engine)
        with transaction(self.engine) as session:
            held = "WHERE lease_owner IS NOT NULL"
            session.execute(text(f"UPDATE jobs SET lease_expires_at = clock_timestamp() {held}"))
            reap(session, ttl_seconds=0.01, max_stalls=1_000_000)
            inflight = "SELECT count(*) FROM judge_questions WHERE state = 'inflight'"
            count = session.scalar(text(inflight)) or 0
            if ablate == "ledger":
                session.execute(text("DELETE FROM judge_questions"))
        return count

    def state(self, job_id: str) -> str:
        with transaction(self.engine) as session:
            return session.get_one(Job, job_id).state


@contextmanager
def bench_of(lanes: int, judge: str, database: str, folder: Path) -> Iterator[Bench]:
    """A tiny model and a judge, over a migrated database."""
    engine, arrivals = create_engine(database, poolclass=NullPool), Arrivals()
    model = tiny_model_folder(folder / "tiny", chat_template=True)
    with running_judge(otherwise=arrivals) as server:
        environ = {
            "DATABASE_URL": database,
            "CATALOGUE": str(write_catalogue(folder, model, server.url)),
            "DATA_DIR": str(folder / "data"),
            "TMPDIR": str(folder),
            "JUDGE_KEY": "sk-1",
            "THREADS": "1",
        }
        yield Bench(engine, server, arrivals, environ, _spec(engine, lanes, judge))


def _spec(engine: Engine, lanes: int, judge: str) -> JobSpec:
    """So many prompts that lanes are filled again, and few rounds."""
    prompts = max(3, lanes + 2)
    # What trains is left out of it: two are held out.
    held_out = {"dataset": factories.dataset(engine, prompts + 2).id, "samples_per_prompt": 2}
    values = small_job(
        factories.dataset(engine, prompts).id,
        judge=judge,
        method={"concurrency": lanes},
        held_out=held_out if judge == SCORES else None,
    )
    return JobSpec.model_validate(values)
