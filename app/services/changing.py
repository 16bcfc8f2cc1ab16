"""What of a job may be changed after it was submitted: none of it decides what the job gives."""

from sqlalchemy.orm import Session

from app.core import budget as budgets
from app.core.errors import BudgetReached
from app.core.lease import clock
from app.core.models import Job, State, log_event
from app.core.spec.change import JobChange
from app.services import jobs
from app.services.bound_rules import deadline_faults
from app.services.consistency import require_none


def change(session: Session, workspace: str, job_id: str, wanted: JobChange) -> Job:
    """Change what is given; a job that its budget had paused goes on if there is room again.

    Raises:
        NotFound: there is no such job.
        Invalid: the deadline has passed already.
    """
    job = jobs.get(session, workspace, job_id, lock=True)
    fields = wanted.model_fields_set
    if "deadline_at" in fields:
        require_none((*deadline_faults(wanted.deadline_at, clock(session)),))
    _apply(job, wanted, fields)
    if fields:
        told = wanted.model_dump(mode="json", include=fields)
        message = f"The user changed: {', '.join(told)}."
        session.add(log_event(job, "changed", message, changed=told))
    if _may_go_on(job):
        _let_go_on(session, workspace, job)
    session.flush()
    return job


def _apply(job: Job, wanted: JobChange, fields: set[str]) -> None:
    if "name" in fields and wanted.name is not None:
        job.name = wanted.name
    if "metadata" in fields and wanted.metadata is not None:
        job.meta = wanted.metadata
    if "deadline_at" in fields:
        job.deadline_at = wanted.deadline_at
    if "budget" in fields and wanted.budget is not None:
        job.budget = budgets.recapped(job.budget, wanted.budget.caps())


def _may_go_on(job: Job) -> bool:
    """Whether nothing but its budget had paused it, and every unit has something left now."""
    stopped_by = (job.error or {}).get("code")
    return stopped_by == BudgetReached.default_code and budgets.has_room(job.budget)


def _let_go_on(session: Session, workspace: str, job: Job) -> None:
    """Queue it; one that is still pausing first keeps the round that it is in."""
    match State(job.state):
        case State.PAUSED:
            jobs.resume(session, workspace, job.id)
        case State.PAUSING:
            detail = "The budget was raised: the job goes on as soon as it has paused."
            job.error = {"code": budgets.RAISED, "detail": detail}
