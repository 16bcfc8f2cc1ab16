"""Evaluations over HTTP: submit one; it is a job, and is read like one."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Response

from app.api.deps import CatalogueDep, SessionDep, WorkspaceDep, only_declared_parameters
from app.api.examples_evaluations import EVALUATION_REQUESTS
from app.api.schemas_jobs import JobOut, job_out
from app.core.lease import clock
from app.core.spec.evaluation import EvaluationSpec
from app.services import evaluations

router = APIRouter(
    prefix="/v1/evaluations", tags=["jobs"], dependencies=[Depends(only_declared_parameters)]
)


@router.post("", operation_id="evaluations_create", status_code=202, summary="Submit an evaluation")
def create(
    session: SessionDep,
    workspace: WorkspaceDep,
    catalogue: CatalogueDep,
    response: Response,
    spec: Annotated[EvaluationSpec, Body(openapi_examples=EVALUATION_REQUESTS)],
) -> JobOut:
    """Check everything, report every fault at once, and queue it.

    It is a job of kind `evaluation`: `/v1/jobs/{id}` tells how far it is, and
    `/v1/jobs/{id}/report` what it has found so far.
    """
    job = evaluations.submit(session, workspace, spec, catalogue)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job_out(job, clock(session), [])
