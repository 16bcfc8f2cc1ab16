"""Jobs: submit, read, list, and what users may do to them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.core.errors import NotFound
from app.core.lease import clock, move
from app.core.models import ALIGNMENT, EXPERIMENT, Act, Attempt, Job, JobEvent, State, log_event
from app.core.models.job import TRANSITIONS
from app.core.spec.catalogue import Catalogue
from app.core.spec.job import JobSpec
from app.services.bound_rules import budget_faults, deadline_faults
from app.services.consistency import require_none
from app.services.entries import Entries, entries_of
from app.services.new_jobs import new_job
from app.services.paging import Ask, Slice, fetch_newest
from app.services.prompts import Chosen, add_prompts, choose_rows
from app.services.resolving import resolved_spec, spec_faults
from app.services.start_rules import trained_by

JOB_ID = re.compile(r"job_[0-9a-z]{26}")


@dataclass(frozen=True)
class Checked:
    """A job that may be queued, with the rows that it works on; nothing of it is stored yet."""

    spec: JobSpec
    job: Job
    chosen: Chosen


def submit(session: Session, workspace: str, spec: JobSpec, catalogue: Catalogue) -> Job:
    """Check everything at once and queue the job; raises `Invalid` with every fault found."""
    return queue(session, check(session, workspace, spec, catalogue))


def check(session: Session, workspace: str, spec: JobSpec, catalogue: Catalogue) -> Checked:
    """Check everything at once; raises `Invalid` with every fault found."""
    entries = entries_of(session, workspace, spec, catalogue)
    before = () if entries.start is None else trained_by(entries.start[1])
    chosen = choose_rows(session, workspace, spec, before)
    judges = [] if entries.judge is None else [entries.judge]
    require_none(
        (
            *spec_faults(spec, entries),
            *budget_faults(spec.budget, judges if spec.judge else []),
            *deadline_faults(spec.deadline_at, clock(session)),
            *chosen.faults,
        )
    )
    resolved = _resolved(spec, entries, chosen)
    steps = len(chosen.prompts)
    job = new_job(workspace, ALIGNMENT, spec, resolved, seed=spec.seed, steps=steps)
    return Checked(spec, job, chosen)


def queue(session: Session, checked: Checked) -> Job:
    """Store what was checked."""
    job = checked.job
    session.add(job)
    session.flush()
    add_prompts(session, job, checked.spec, checked.chosen)
    session.add(_created(job))
    session.flush()
    session.refresh(job)
    return job


def _created(job: Job) -> JobEvent:
    message = f"The job was queued with {job.steps_total} prompts."
    if job.cloned_from is None:
        return log_event(job, "created", message)
    whose = f"{message} It is a clone of {job.cloned_from}."
    return log_event(job, "created", whose, cloned_from=job.cloned_from)


def _resolved(spec: JobSpec, entries: Entries, chosen: Chosen) -> dict[str, Any]:
    values = resolved_spec(spec, entries)
    for name, facts in chosen.facts.items():
        values[name] |= facts
    values["service_version"] = version("cyclealign")
    return values


def get(session: Session, workspace: str, job_id: str, *, lock: bool = False) -> Job:
    """Return the job; raises `NotFound`, the same for an id of nobody and of somebody else."""
    query = select(Job).where(Job.id == job_id, Job.workspace_id == workspace)
    if lock:
        query = query.with_for_update(key_share=True)
    job = session.scalars(query).one_or_none() if JOB_ID.fullmatch(job_id) else None
    if job is None:
        raise NotFound("There is no such job.")
    return job


def attempts(session: Session, job: Job) -> Sequence[Attempt]:
    """Return the job's attempts, first to last."""
    query = select(Attempt).where(Attempt.job_id == job.id).order_by(Attempt.attempt)
    return session.scalars(query).all()


@dataclass(frozen=True)
class Filter:
    """Which jobs a list shows; an empty field filters nothing."""

    states: Sequence[State] = ()
    name_contains: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def list_page(session: Session, workspace: str, wanted: Filter, ask: Ask) -> Slice[Job]:
    """Return a page of jobs, newest first."""
    query = select(Job).where(Job.workspace_id == workspace)
    return fetch_newest(session, _filtered(query, wanted), Job, ask)


def _filtered(query: Select[Job], wanted: Filter) -> Select[Job]:
    if wanted.states:
        query = query.where(Job.state.in_([state.value for state in wanted.states]))
    if wanted.name_contains:
        query = query.where(Job.name.icontains(wanted.name_contains, autoescape=True))
    if wanted.created_after:
        query = query.where(Job.created_at > wanted.created_after)
    if wanted.created_before:
        query = query.where(Job.created_at < wanted.created_before)
    if wanted.metadata:
        query = query.where(Job.meta.contains(dict(wanted.metadata)))
    return query


def cancel(session: Session, workspace: str, job_id: str) -> Job:
    """Cancel the job now if it waits, else ask its runner to stop; raises `Conflict`."""
    return _act(session, workspace, job_id, Act.CANCEL)


def pause(session: Session, workspace: str, job_id: str) -> Job:
    """Pause the job now if it waits, else once its runner has taken a checkpoint."""
    return _act(session, workspace, job_id, Act.PAUSE)


def resume(session: Session, workspace: str, job_id: str) -> Job:
    """Queue a paused job again; it goes on from its newest checkpoint."""
    return _act(session, workspace, job_id, Act.RESUME)


def retry(session: Session, workspace: str, job_id: str) -> Job:
    """Queue a failed or cancelled job again; it goes on from its newest checkpoint."""
    return _act(session, workspace, job_id, Act.RETRY)


REASONS = {
    Act.CANCEL: "cancelled by the user",
    Act.PAUSE: "paused by the user",
    Act.RESUME: "resumed by the user",
    Act.RETRY: "retried by the user",
}


def _act(session: Session, workspace: str, job_id: str, act: Act) -> Job:
    """Move a job, and with an experiment those that it made; what is repeated changes nothing."""
    job = get(session, workspace, job_id, lock=True)
    before = job.state
    state = move(session, job, act, actor="user", reason=REASONS[act])
    if job.state != before:
        _after(session, job, state)
    for part in _parts(session, job):
        if (State(part.state), act) in TRANSITIONS:
            _act(session, workspace, part.id, act)
    return job


def _after(session: Session, job: Job, state: State) -> None:
    """Note when it was cancelled; begin anew to count errors of what is queued again.

    A paused job still says why it waited.
    """
    now = clock(session)
    if state is State.CANCELLING:
        job.cancel_requested_at = now
    if state is State.QUEUED:
        job.run_after, job.nudged_at, job.cancel_requested_at = now, None, None
        job.failures = job.stalls = 0
    if state in {State.QUEUED, State.CANCELLED}:
        job.error = None


def _parts(session: Session, job: Job) -> Sequence[Job]:
    if job.kind != EXPERIMENT:
        return ()
    return session.scalars(select(Job).where(Job.parent_id == job.id).order_by(Job.id)).all()
