"""A tiny model in a catalogue, and jobs on it that are run in this process."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from app.core.db import transaction
from app.core.lease import Lease, claim, settle
from app.core.models import Dataset, DatasetRow, Job, State, new_id
from app.core.settings import get_settings
from app.core.spec.catalogue import load_catalogue
from app.core.spec.evaluation import EvaluationSpec
from app.core.spec.job import JobSpec
from app.services import evaluations, jobs
from tests import factories
from tests.judge_server import JudgeServer, running_judge
from tests.run import contests
from tests.stack.jobs import PROMPTS, small_job
from tests.stack.running import write_catalogue
from tests.tiny import tiny_model_folder
from worker import runner
from worker.ending import DONE, ending_of
from worker.failure import report
from worker.recipe import Run


@pytest.fixture
def operator(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The operator's environment: a catalogue with the tiny model, and this test's database."""
    model = tiny_model_folder(tmp_path / "tiny", chat_template=True)
    catalogue = write_catalogue(tmp_path, model)
    monkeypatch.setenv("CATALOGUE", str(catalogue))
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DATABASE_URL", database_url)
    get_settings.cache_clear()
    yield catalogue
    get_settings.cache_clear()


@pytest.fixture
def submit(operator: Path, engine: Engine) -> Callable[..., str]:
    """Submit a small job over the usual prompts; returns its id."""

    def submit_one(**changes: object) -> str:
        with transaction(engine) as session:
            dataset = Dataset(
                id=new_id("ds"), name="prompts", kind="prompts", on_error="reject", state="ready",
                format="text", sha256=new_id("x"), bytes=1, line_count=len(PROMPTS),
                row_count=len(PROMPTS), issue_count=0, issue_counts={}, subset_counts={},
            )  # fmt: skip
            session.add(dataset)
            session.flush()
            session.add_all(
                DatasetRow(
                    dataset_id=dataset.id, position=i, line=i + 1, extra={},
                    messages=[{"role": "user", "content": text}],
                )
                for i, text in enumerate(PROMPTS)
            )  # fmt: skip
            session.flush()
            spec = JobSpec.model_validate(small_job(dataset.id, **changes))
            return jobs.submit(session, "ws_default", spec, load_catalogue(operator)).id

    return submit_one


@pytest.fixture
def take(engine: Engine) -> Callable[[], Lease]:
    """Claim the next job."""

    def take_one() -> Lease:
        with transaction(engine) as session:
            lease = claim(session, owner="test", ttl_seconds=600)
        assert lease is not None
        return lease

    return take_one


@pytest.fixture
def run_here(take: Callable[[], Lease]) -> Callable[..., int]:
    """Run the next job in this process; returns the runner's exit code."""

    def run_one(stopping: threading.Event | None = None) -> int:
        opened = runner.open_run(take(), stopping or threading.Event())
        return runner.run(opened)

    return run_one


@pytest.fixture
def supervise(
    engine: Engine, take: Callable[[], Lease], capsys: pytest.CaptureFixture[str]
) -> Callable[..., Job]:
    """Run the next job in this process, and settle the attempt as its supervisor would."""

    def attempt(part: Callable[[Run], Run] = lambda run: run, events: int | None = None) -> Job:
        lease = take()
        code = report(lambda: runner.run(part(runner.open_run(lease, threading.Event())), events))
        said = capsys.readouterr().out.strip().rpartition("\n")[2]
        ending = None if code == DONE else ending_of(code, said.encode(), asked=False)
        if ending is not None:
            act = ending.act_in(State(job_of(engine, lease.job_id).state))
            with transaction(engine) as session:
                settle(session, lease, act, error=ending.error, reason=ending.reason)
        return job_of(engine, lease.job_id)

    return attempt


@pytest.fixture
def compare(operator: Path, engine: Engine) -> Callable[..., str]:
    """Submit a small evaluation; returns its id."""

    def submit(**changes: Any) -> str:
        subsets = ("harmless", "helpful", "helpful")
        values = {
            "prompts": {"dataset": factories.dataset(engine, contests.PROMPTS, subsets=subsets).id},
            "contestants": contests.TWINS,
            "generation": {"max_new_tokens": 8, "max_length": 256},
            "seed": 7,
            **changes,
        }
        spec = EvaluationSpec.model_validate(values)
        with transaction(engine) as session:
            found = load_catalogue(operator)
            return evaluations.submit(session, "ws_default", spec, found).id

    return submit


@pytest.fixture
def work(take: Callable[[], Lease]) -> Callable[[], int]:
    return lambda: runner.work(take(), threading.Event())


@pytest.fixture
def judge(operator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    """An OpenAI-compatible judge of the catalogue."""
    monkeypatch.setenv("JUDGE_KEY", "sk-1")
    with running_judge() as server:
        write_catalogue(operator.parent, tmp_path / "tiny", server.url)
        yield server


def job_of(engine: Engine, job_id: str) -> Job:
    """Return the job's row."""
    with transaction(engine) as session:
        return session.get_one(Job, job_id)
