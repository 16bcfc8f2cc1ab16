"""Queries that API and worker both ask."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, func, select

from app.core.models.dataset import DatasetRow
from app.core.models.job import EXPERIMENT, Job, JobPrompt, State


def next_jobs(*columns: Any) -> Select[Any]:
    """Select columns of the jobs that a worker may take, the next one first.

    Experiments are passed by: they wait for others to run.
    """
    return (
        select(*columns)
        .where(
            Job.state == State.QUEUED.value,
            Job.kind != EXPERIMENT,
            Job.run_after <= func.clock_timestamp(),
        )
        .order_by(Job.priority, Job.run_after, Job.id)
    )


def run_rows(job_id: str, stages: Sequence[str], *columns: Any) -> Select[Any]:
    """Select columns of a job's rows, by stage and step: `JobPrompt` with its `DatasetRow`."""
    return (
        select(*columns)
        .select_from(JobPrompt)
        .join(
            DatasetRow,
            (DatasetRow.dataset_id == JobPrompt.dataset_id)
            & (DatasetRow.position == JobPrompt.position),
        )
        .where(JobPrompt.job_id == job_id, JobPrompt.stage.in_(stages))
        .order_by(JobPrompt.stage, JobPrompt.step)
    )
