"""Experiments: submit one with all its runs; `contests` takes it on when they have ended."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from sqlalchemy.orm import Session

from app.core.errors import FaultAt, Invalid
from app.core.models import EXPERIMENT, Job, log_event
from app.core.spec.catalogue import Catalogue
from app.core.spec.evaluation import ContestantSpec
from app.core.spec.experiment import ExperimentSpec
from app.core.spec.job import JobSpec
from app.core.spec.method import RewardModel
from app.services import evaluations, jobs
from app.services.configs import same_config
from app.services.consistency import require_none
from app.services.contests import contest_spec, contests_expected
from app.services.experiment_rows import START, Row, in_row, job_of, rows_of, shape_faults
from app.services.new_jobs import new_job


@dataclass(frozen=True)
class Asked:
    """An experiment with what it is checked against."""

    session: Session
    workspace: str
    spec: ExperimentSpec
    catalogue: Catalogue


def submit(session: Session, workspace: str, spec: ExperimentSpec, catalogue: Catalogue) -> Job:
    """Check every run at once and queue those that are new; raises `Invalid` with all faults.

    A run whose config stands in a job that has ended well, or may yet, is taken from there.
    """
    asked = Asked(session, workspace, spec, catalogue)
    require_none(list(shape_faults(spec)))
    rows = rows_of(spec)
    found = [(row, seed, _check(asked, row, seed)) for row in rows for seed in spec.seeds]
    faults = [fault for _, _, one in found if isinstance(one, list) for fault in one]
    require_none(list(dict.fromkeys((*faults, *_contest_faults(asked)))))
    experiment = _queued(asked, [one.spec for _, _, one in found if isinstance(one, jobs.Checked)])
    session.add(experiment)
    session.flush()
    runs: dict[str, list[dict[str, Any]]] = {row.label: [] for row in rows}
    for row, seed, checked in found:
        assert isinstance(checked, jobs.Checked)
        runs[row.label].append(_run(session, experiment, seed, checked))
    told = [{"label": row.label, "values": row.values, "runs": runs[row.label]} for row in rows]
    experiment.resolved = {**experiment.resolved, "rows": told}
    _tell(session, experiment)
    session.refresh(experiment)
    return experiment


def _check(asked: Asked, row: Row, seed: int) -> jobs.Checked | list[FaultAt]:
    spec, faults = job_of(row, seed)
    if spec is None:
        return faults
    if isinstance(spec.method, RewardModel) and asked.spec.evaluation is not None:
        message = "A reward model answers nothing, so it cannot be compared by 'evaluation'."
        return [in_row(FaultAt("inconsistent_parameters", message, "/method/type"), row)]
    try:
        return jobs.check(asked.session, asked.workspace, spec, asked.catalogue)
    except Invalid as invalid:
        return [in_row(fault, row) for fault in invalid.faults]


def _contest_faults(asked: Asked) -> Iterator[FaultAt]:
    """Check the comparison with the start model in the place of every run."""
    wanted = asked.spec.evaluation
    model = asked.spec.base.model.name
    if wanted is None or model not in asked.catalogue.models:
        return
    several = [ContestantSpec(label=label, model=model) for label in (START, "row")]
    try:
        evaluations.check(
            asked.session, asked.workspace, contest_spec(wanted, several, "", 0), asked.catalogue
        )
    except Invalid as invalid:
        for fault in invalid.faults:
            yield FaultAt(fault.code, fault.message, f"/evaluation{fault.pointer}")


def _run(session: Session, experiment: Job, seed: int, checked: jobs.Checked) -> dict[str, Any]:
    """Queue a run, or find the one that is already there."""
    known = same_config(session, checked.job)
    if known is None:
        checked.job.parent_id = experiment.id
    job = known or jobs.queue(session, checked)
    return {
        "seed": seed,
        "job_id": job.id,
        "reused": known is not None,
        "config_sha256": job.config_sha256,
    }


def _queued(asked: Asked, runs: list[JobSpec]) -> Job:
    spec = asked.spec
    total = len(runs) + contests_expected(spec, runs)
    resolved = spec.model_dump(mode="json", by_alias=True)
    resolved["service_version"] = version("cyclealign")
    return new_job(asked.workspace, EXPERIMENT, spec, resolved, seed=0, steps=total)


def _tell(session: Session, experiment: Job) -> None:
    runs = [run for row in experiment.resolved["rows"] for run in row["runs"]]
    reused = sum(run["reused"] for run in runs)
    message = f"Queued with {len(runs)} runs, {reused} of them already there."
    session.add(log_event(experiment, "created", message, runs=len(runs), reused=reused))
    session.flush()
