"""Jobs over HTTP: submit, clone, list, get, cancel, pause, resume, retry."""

import re
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response
from pydantic import AwareDatetime
from sqlalchemy.orm import Session

from app.api.deps import (
    METADATA,
    CatalogueDep,
    SessionDep,
    WorkspaceDep,
    only_declared_parameters,
)
from app.api.examples import CLONE_REQUESTS, JOB_CHANGES, JOB_REQUESTS
from app.api.examples_runs import JOB_ID
from app.api.idempotency import OnceRoute
from app.api.pages import Page, PageDep, page_of
from app.api.schemas_jobs import JobOut, job_out
from app.core.errors import FaultAt, Invalid
from app.core.lease import clock
from app.core.models import Job, State
from app.core.spec.base import Text
from app.core.spec.change import JobChange
from app.core.spec.clone import CloneSpec
from app.core.spec.job import JobSpec
from app.services import changing, clones, jobs

router = APIRouter(
    prefix="/v1/jobs",
    tags=["jobs"],
    dependencies=[Depends(only_declared_parameters)],
    route_class=OnceRoute,
)

JobId = Annotated[str, Path(description="The job's id.", examples=[JOB_ID])]

_METADATA = re.compile(r"metadata\[(.+)\]", re.DOTALL)


@router.post("", operation_id="jobs_create", status_code=202, summary="Submit a job")
def create(
    session: SessionDep,
    workspace: WorkspaceDep,
    catalogue: CatalogueDep,
    response: Response,
    spec: Annotated[JobSpec, Body(openapi_examples=JOB_REQUESTS)],
) -> JobOut:
    """Check everything, report every fault at once, and queue the job."""
    job = jobs.submit(session, workspace, spec, catalogue)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job_out(job, clock(session), [])


def _states(
    status: Annotated[
        str | None, Query(max_length=200, description="Any of these states, with commas between.")
    ] = None,
) -> tuple[State, ...]:
    try:
        return tuple(State(name) for name in status.split(",")) if status else ()
    except ValueError:
        message = f"'status' may name: {', '.join(State)}."
        raise Invalid(
            message, code="not_allowed", faults=(FaultAt("not_allowed", message),)
        ) from None


def _metadata(
    request: Request,
    declared: Annotated[  # noqa: ARG001  # names the parameter for the document and the check
        Text | None,
        Query(alias=METADATA, description="Jobs with this value under a key of their metadata."),
    ] = None,
) -> dict[str, str]:
    found = {
        match.group(1): value
        for name, value in request.query_params.items()
        if (match := _METADATA.fullmatch(name))
    }
    return {key.replace("\x00", "\ufffd"): v.replace("\x00", "\ufffd") for key, v in found.items()}


def _filter(
    states: Annotated[tuple[State, ...], Depends(_states)],
    metadata: Annotated[dict[str, str], Depends(_metadata)],
    name_contains: Annotated[Text | None, Query(max_length=200)] = None,
    created_after: AwareDatetime | None = None,
    created_before: AwareDatetime | None = None,
) -> jobs.Filter:
    return jobs.Filter(states, name_contains, created_after, created_before, metadata)


FilterDep = Annotated[jobs.Filter, Depends(_filter)]


@router.get("", operation_id="jobs_list", summary="List jobs, newest first")
def list_jobs(
    session: SessionDep, workspace: WorkspaceDep, wanted: FilterDep, ask: PageDep
) -> Page[JobOut]:
    """List the workspace's jobs; every filter narrows the list."""
    now: datetime = clock(session)
    return page_of(jobs.list_page(session, workspace, wanted, ask), lambda job: job_out(job, now))


def _whole(session: Session, job: Job) -> JobOut:
    return job_out(job, clock(session), jobs.attempts(session, job))


@router.get("/{job_id}", operation_id="jobs_get", summary="Get a job")
def get(session: SessionDep, workspace: WorkspaceDep, job_id: JobId) -> JobOut:
    """Return one job with its attempts."""
    return _whole(session, jobs.get(session, workspace, job_id))


@router.patch("/{job_id}", operation_id="jobs_change", summary="Change a job")
def change(
    session: SessionDep,
    workspace: WorkspaceDep,
    job_id: JobId,
    wanted: Annotated[JobChange, Body(openapi_examples=JOB_CHANGES)],
) -> JobOut:
    """Change the name, metadata, budget or deadline: nothing that decides what the job gives.

    A job that its budget had paused goes on if there is room again.
    """
    return _whole(session, changing.change(session, workspace, job_id, wanted))


@router.post("/{job_id}/clone", operation_id="jobs_clone", status_code=202, summary="Clone a job")
def clone(
    session: SessionDep,
    workspace: WorkspaceDep,
    catalogue: CatalogueDep,
    response: Response,
    job_id: JobId,
    asked: Annotated[CloneSpec | None, Body(openapi_examples=CLONE_REQUESTS)] = None,
) -> JobOut:
    """Queue a new job with the spec of an alignment job in any state, changed as `overrides` say.

    It is checked like any new job. A fault of an override has a pointer below `/overrides`, one of
    the start `/from/checkpoint`; other pointers are of the spec that is cloned. Questions that the
    judge has answered before are not asked again.
    """
    job = clones.clone(session, workspace, job_id, asked or CloneSpec(), catalogue)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job_out(job, clock(session), [])


@router.post("/{job_id}/cancel", operation_id="jobs_cancel", summary="Cancel a job")
def cancel(session: SessionDep, workspace: WorkspaceDep, job_id: JobId) -> JobOut:
    """End a waiting job at once, ask a running one to stop; repeated, it answers the same."""
    return _whole(session, jobs.cancel(session, workspace, job_id))


@router.post("/{job_id}/pause", operation_id="jobs_pause", summary="Pause a job")
def pause(session: SessionDep, workspace: WorkspaceDep, job_id: JobId) -> JobOut:
    """Hold a waiting job at once, a running one as soon as its round has ended and is kept.

    A running job is `pausing` until its checkpoint is stored. Repeated, it answers the same.
    """
    return _whole(session, jobs.pause(session, workspace, job_id))


@router.post("/{job_id}/resume", operation_id="jobs_resume", summary="Resume a paused job")
def resume(session: SessionDep, workspace: WorkspaceDep, job_id: JobId) -> JobOut:
    """Queue a paused job again; it goes on from its newest checkpoint."""
    return _whole(session, jobs.resume(session, workspace, job_id))


@router.post("/{job_id}/retry", operation_id="jobs_retry", summary="Retry an ended job")
def retry(session: SessionDep, workspace: WorkspaceDep, job_id: JobId) -> JobOut:
    """Queue a failed or cancelled job again; it goes on from its newest checkpoint.

    Answers of the judge that were paid are not paid again.
    """
    return _whole(session, jobs.retry(session, workspace, job_id))
