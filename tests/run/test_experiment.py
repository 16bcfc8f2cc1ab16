"""An experiment from its runs to its report, with the real runner and the rubric."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.core.db import transaction
from app.core.models import Attempt, Job, next_jobs
from app.core.spec.catalogue import load_catalogue
from app.core.spec.experiment import ExperimentSpec
from app.dispatcher import take_on
from app.services import experiments, jobs
from app.services.reports.experiment import ExperimentReport, RowReport, experiment_report
from app.web.experiment_page import as_html
from app.web.tables import as_csv
from tests import factories
from tests.run.conftest import job_of
from tests.run.given import pairs
from tests.stack.jobs import small_job
from worker.ending import DONE

HELD_OUT, GIVEN = 4, 10
PATHS = {"name": "N", "values": [{"label": "2"}, {"label": "1", "set": {"/method/iterations": 1}}]}


@pytest.fixture
def experiment(operator: Path, engine: Engine) -> Callable[..., str]:
    """Submit a small experiment over the same datasets each time; returns its id."""
    prompts, held_out = (factories.dataset(engine, n).id for n in (3, HELD_OUT))
    given = pairs(engine).id

    def submit(**changes: Any) -> str:
        values = {
            "base": small_job(prompts),
            "axes": [PATHS],
            "seeds": [1, 2],
            "evaluation": {
                "prompts": {"dataset": held_out},
                "given": {"dataset": given},
                "scorers": [{"name": "rubric"}],
                "pairwise": {"judge": {"name": "rubric"}},
                "generation": {"max_new_tokens": 8, "max_length": 256},
                "judge_quality": True,
            },
            **changes,
        }
        with transaction(engine) as session:
            spec, found = ExperimentSpec.model_validate(values), load_catalogue(operator)
            return experiments.submit(session, "ws_default", spec, found).id

    return submit


@pytest.fixture
def advance(operator: Path, engine: Engine) -> Callable[[], None]:
    """One turn of the dispatcher."""
    return lambda: take_on(engine, load_catalogue(operator))


def report_of(engine: Engine, experiment_id: str) -> ExperimentReport:
    with transaction(engine) as session:
        return experiment_report(session, session.get_one(Job, experiment_id))


def parts_of(engine: Engine, experiment_id: str, kind: str) -> list[Job]:
    with transaction(engine) as session:
        query = select(Job).where(Job.parent_id == experiment_id, Job.kind == kind)
        return list(session.scalars(query.order_by(Job.id)))


@pytest.fixture
def finish(
    engine: Engine,
    experiment: Callable[..., str],
    advance: Callable[[], None],
    work: Callable[[], int],
) -> Callable[..., str]:
    """Submit an experiment and run all of it."""

    def run_all(**changes: Any) -> str:
        job_id = experiment(**changes)
        while job_of(engine, job_id).state == "queued":
            advance()
            with transaction(engine) as session:
                waiting = session.scalars(next_jobs(Job)).all()
            for _ in waiting:
                assert work() == DONE
        return job_id

    return run_all


def test_comparing_waits_for_all_runs(
    engine: Engine,
    experiment: Callable[..., str],
    advance: Callable[[], None],
    work: Callable[[], int],
) -> None:
    job_id = experiment()
    for _ in range(4):
        advance()
        assert parts_of(engine, job_id, "evaluation") == []
        assert work() == DONE
    advance()
    # one a seed, and one for the judge of every run
    assert len(parts_of(engine, job_id, "evaluation")) == 2 + 4
    assert job_of(engine, job_id).phase == "comparing"


def test_rows_are_measured_beside_the_start_model(
    engine: Engine, finish: Callable[..., str]
) -> None:
    job_id = finish()
    ended = job_of(engine, job_id)
    assert (ended.state, ended.progress["steps_done"]) == ("succeeded", ended.steps_total)
    report = report_of(engine, job_id)
    assert report.complete
    assert [row.label for row in report.rows] == ["start", "2", "1"]
    start, twice, once = report.rows
    for row in (twice, once):
        check_row(row, start)
    assert all(part.mean_iterations == 1 for part in once.runs[0].agreement)
    assert twice.runs[0].judge_calls >= once.runs[0].judge_calls
    check_pages(report)


def check_row(row: RowReport, start: RowReport) -> None:
    [scores], [begun] = row.scores, start.scores
    assert scores.missing == 0
    assert scores.gain is not None
    assert scores.total.value is not None
    assert begun.total.value is not None
    assert scores.total.value == pytest.approx(sum(one or 0.0 for one in scores.by_seed) / 2)
    assert scores.gain.value == pytest.approx(scores.total.value - begun.total.value)
    said = row.verdicts
    assert said is not None
    assert said.win + said.tie + said.lose + said.invalid == 2 * HELD_OUT
    assert row.given is not None
    assert start.given is not None
    assert row.given.accuracy.n == 2 * GIVEN
    assert row.given.change is not None
    tax = (row.given.accuracy.value or 0.0) - (start.given.accuracy.value or 0.0)
    assert row.given.change.value == pytest.approx(tax)
    assert row.texts is not None
    assert row.texts.answers == 2 * HELD_OUT
    assert all(run.judge[0].mean_demonstrations is not None for run in row.runs)


def check_pages(report: ExperimentReport) -> None:
    lines = as_csv(report).splitlines()
    assert len(lines) == 1 + 3
    assert lines[2].startswith(f"2,rubric,2,{report.rows[1].scores[0].total.value}")
    page = as_html(report)
    assert page.count("<svg") == 4
    for part in ("Figure 4", "Figures 3 and 5", "Figure 6", "Table 4"):
        assert part in page
    assert "src=" not in page
    assert "<link" not in page


def test_nothing_is_run_twice(engine: Engine, finish: Callable[..., str]) -> None:
    """Neither runs nor evaluations, whatever the order of the seeds."""
    first, again = finish(), finish(seeds=[2, 1])
    assert parts_of(engine, again, "alignment") == []
    assert parts_of(engine, again, "evaluation") == []
    before, after = report_of(engine, first).rows[1], report_of(engine, again).rows[1]
    assert before.scores[0].total.value == after.scores[0].total.value
    assert [run.reused for run in after.runs] == [True, True]


def test_an_experiment_without_a_run_that_ended_well_fails(
    engine: Engine, experiment: Callable[..., str], advance: Callable[[], None]
) -> None:
    job_id = experiment(axes=[], seeds=[1])
    [run] = parts_of(engine, job_id, "alignment")
    with transaction(engine) as session:
        jobs.cancel(session, "ws_default", run.id)
    advance()
    ended = job_of(engine, job_id)
    assert ended.state == "failed"
    assert ended.error is not None
    assert ended.error["code"] == "no_run_succeeded"
    assert report_of(engine, job_id).rows[0].runs[0].status == "cancelled"


def test_a_row_whose_run_failed_is_told_apart_and_does_not_stop_the_others(
    engine: Engine,
    experiment: Callable[..., str],
    advance: Callable[[], None],
    work: Callable[[], int],
) -> None:
    job_id = experiment(seeds=[1], evaluation=None)
    kept, lost = parts_of(engine, job_id, "alignment")
    with transaction(engine) as session:
        jobs.cancel(session, "ws_default", lost.id)
    assert work() == DONE
    advance()
    assert job_of(engine, job_id).state == "succeeded"
    rows = report_of(engine, job_id).rows
    assert {row.runs[0].job_id: row.runs[0].status for row in rows} == {
        kept.id: "succeeded",
        lost.id: "cancelled",
    }


def test_no_worker_takes_an_experiment(
    engine: Engine, experiment: Callable[..., str], work: Callable[[], int]
) -> None:
    job_id = experiment(axes=[], seeds=[1], evaluation=None)
    assert work() == DONE
    with transaction(engine) as session:
        assert session.scalars(select(Attempt).where(Attempt.job_id == job_id)).all() == []
    with pytest.raises(AssertionError):
        work()
