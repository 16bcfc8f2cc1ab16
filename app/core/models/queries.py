"""Queries that API and worker both ask."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, select

from app.core.models.dataset import DatasetRow
from app.core.models.job import JobPrompt


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
