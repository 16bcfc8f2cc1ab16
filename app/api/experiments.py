"""Experiments over HTTP: submit one; it is a job, and is read like one."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Response

from app.api.deps import CatalogueDep, SessionDep, WorkspaceDep, only_declared_parameters
from app.api.examples_experiments import EXPERIMENT_REQUESTS
from app.api.idempotency import OnceRoute
from app.api.schemas_jobs import JobOut, job_out
from app.core.lease import clock
from app.core.spec.experiment import ExperimentSpec
from app.services import experiments

router = APIRouter(
    prefix="/v1/experiments",
    tags=["jobs"],
    dependencies=[Depends(only_declared_parameters)],
    route_class=OnceRoute,
)


@router.post("", operation_id="experiments_create", status_code=202, summary="Submit an experiment")
def create(
    session: SessionDep,
    workspace: WorkspaceDep,
    catalogue: CatalogueDep,
    response: Response,
    spec: Annotated[ExperimentSpec, Body(openapi_examples=EXPERIMENT_REQUESTS)],
) -> JobOut:
    """Check every run, report every fault at once, and queue those that have not run yet.

    It is a job of kind `experiment`, whose `resolved.rows` name its runs. When they have ended, the
    evaluations that compare them follow; `/v1/jobs/{id}/report` tells what is found so far, as
    JSON, and under `/v1/jobs/{id}/report.csv` and `.html` as a table and as a page.
    """
    job = experiments.submit(session, workspace, spec, catalogue)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job_out(job, clock(session), [])
