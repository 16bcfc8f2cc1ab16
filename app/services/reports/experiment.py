"""The report of an experiment: its rows beside the start model, in the shape of the paper's tables.

Tables 1 and 3 are the rows' scores by subset with their total; Table 2 their verdicts against the
start model; Table 4 and Figures 3 and 5 the judge's quality; Figure 4 the agreement over a run.
Figure 6 is an axis over `/method/iterations`. All answers, of all rows, come from one harness.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.models import Job, JudgeCall, State
from app.services.contests import contest_ids, jobs_by_id, run_ids, start_label
from app.services.reports.contest_rows import Contests, read_contests
from app.services.reports.harness import Difference, harness_differences
from app.services.reports.judge_quality import AgreementPart, JudgeQuality, agreement_parts
from app.services.reports.judge_quality import judge_quality as quality_of
from app.services.reports.row_measures import (
    RowGiven,
    RowScores,
    RowTexts,
    RowVerdicts,
    measure,
)


@dataclass(frozen=True)
class RunReport:
    """One run of a row."""

    seed: int
    job_id: str
    config_sha256: str | None
    status: str
    reused: bool
    seconds: float | None
    """From its first start to its end."""
    updates: int
    judge_calls: int
    cost_micros: int
    agreement: list[AgreementPart]
    judge: list[JudgeQuality]


@dataclass(frozen=True)
class RowReport:
    """One combination of the axes' values, over all of its seeds; or a start model."""

    label: str
    values: dict[str, str]
    config: dict[str, Any]
    """What the first run's fields became."""
    runs: list[RunReport]
    seconds: float | None
    """Mean of the runs that ended well."""
    scores: list[RowScores]
    verdicts: RowVerdicts | None
    given: RowGiven | None
    texts: RowTexts | None


@dataclass(frozen=True)
class ExperimentReport:
    """The whole report; `complete` is false while something is still to come."""

    name: str
    complete: bool
    prompts: int
    seeds: list[int]
    scorers: list[str]
    rows: list[RowReport]
    """The start models first."""
    differences: list[Difference]
    """How this harness differs from the paper's, by the first row."""


def experiment_report(session: Session, experiment: Job) -> ExperimentReport:
    """Reckon the report from the rows that are there."""
    told = experiment.resolved
    runs = jobs_by_id(session, run_ids(experiment))
    contests = read_contests(session, _contests(session, experiment))
    models = [_first(row, runs).resolved["model"]["name"] for row in told["rows"]]
    starts = {model: start_label(model, models) for model in dict.fromkeys(models)}
    rows = [_start(label, contests) for label in starts.values() if contests.scorers]
    rows += [
        _row(session, row, runs, contests, starts[model], _judged(experiment))
        for row, model in zip(told["rows"], models, strict=True)
    ]
    return ExperimentReport(
        name=experiment.name,
        complete=experiment.state == State.SUCCEEDED.value,
        prompts=contests.prompts,
        seeds=told["seeds"],
        scorers=list(contests.scorers),
        rows=rows,
        differences=harness_differences(_first(told["rows"][0], runs).resolved, told),
    )


def _first(row: dict[str, Any], runs: dict[str, Job]) -> Job:
    return runs[row["runs"][0]["job_id"]]


def _contests(session: Session, experiment: Job) -> list[Job]:
    found = jobs_by_id(session, contest_ids(experiment))
    return [found[one["job_id"]] for one in _told_contests(experiment) if one["judged"] is None]


def _told_contests(experiment: Job) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = experiment.resolved.get("contests", [])
    return told


def _judged(experiment: Job) -> dict[str, str]:
    """By run, the evaluation of its judge."""
    return {one["judged"]: one["job_id"] for one in _told_contests(experiment) if one["judged"]}


def _start(label: str, contests: Contests) -> RowReport:
    found = measure(contests, label, None)
    return RowReport(
        label, {}, {}, [], None, found.scores, found.verdicts, found.given, found.texts
    )


def _row(
    session: Session,
    row: dict[str, Any],
    runs: dict[str, Job],
    contests: Contests,
    start: str,
    judged: dict[str, str],
) -> RowReport:
    reports = [_run(session, told, runs[told["job_id"]], judged) for told in row["runs"]]
    lasted = [run.seconds for run in reports if run.seconds is not None]
    found = measure(contests, row["label"], start)
    return RowReport(
        label=row["label"],
        values=row["values"],
        config=_first(row, runs).resolved,
        runs=reports,
        seconds=sum(lasted) / len(lasted) if lasted else None,
        scores=found.scores,
        verdicts=found.verdicts,
        given=found.given,
        texts=found.texts,
    )


def _run(session: Session, told: dict[str, Any], job: Job, judged: dict[str, str]) -> RunReport:
    cycle = job.resolved["method"]["type"] == "cyclealign"
    return RunReport(
        seed=told["seed"],
        job_id=job.id,
        config_sha256=job.config_sha256,
        status=job.state,
        reused=told["reused"],
        seconds=(job.finished_at - job.started_at).total_seconds()
        if job.finished_at and job.started_at
        else None,
        updates=job.update,
        judge_calls=_calls(session, job),
        cost_micros=job.usage.get("cost_micros", 0),
        agreement=agreement_parts(session, job.id) if cycle else [],
        judge=_quality(session, job, judged.get(job.id)),
    )


def _calls(session: Session, job: Job) -> int:
    query = select(func.count()).select_from(JudgeCall).where(JudgeCall.job_id == job.id)
    return session.scalar(query) or 0


def _quality(session: Session, job: Job, evaluation_id: str | None) -> list[JudgeQuality]:
    if evaluation_id is None:
        return []
    evaluation = session.get_one(Job, evaluation_id)
    scorers = [one["name"] or one["checkpoint"] for one in evaluation.resolved["scorers"]]
    return [quality_of(session, evaluation, job.id, name) for name in scorers]
