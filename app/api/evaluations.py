"""Evaluations over HTTP: submit one; it is a job, and is read like one."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query, Response

from app.api.deps import CatalogueDep, SessionDep, WorkspaceDep, only_declared_parameters
from app.api.examples_evaluations import EVALUATION_REQUESTS, VOTE_REQUESTS
from app.api.idempotency import OnceRoute
from app.api.jobs import JobId
from app.api.schemas_jobs import JobOut, job_out
from app.api.schemas_reports import BallotOut, VoteOut
from app.core.lease import clock
from app.core.spec.evaluation import EvaluationSpec, Rater, VoteSpec
from app.services import evaluations, votes

router = APIRouter(
    prefix="/v1/evaluations",
    tags=["jobs"],
    dependencies=[Depends(only_declared_parameters)],
    route_class=OnceRoute,
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


@router.get("/{job_id}/ballot", operation_id="evaluations_ballot", summary="Get a blind ballot")
def ballot(
    session: SessionDep,
    workspace: WorkspaceDep,
    job_id: JobId,
    rater: Annotated[Rater, Query(description="Who is going to vote.")],
) -> BallotOut:
    """Return a pair of answers that this person has not voted on, in random order, unnamed."""
    job = votes.evaluation_of(session, workspace, job_id)
    return BallotOut.model_validate(votes.next_ballot(session, job, rater))


@router.post(
    "/{job_id}/votes", operation_id="evaluations_vote", status_code=201, summary="Vote on a ballot"
)
def vote(
    session: SessionDep,
    workspace: WorkspaceDep,
    response: Response,
    job_id: JobId,
    spec: Annotated[VoteSpec, Body(openapi_examples=VOTE_REQUESTS)],
) -> VoteOut:
    """Store a vote for good; the same vote again answers 200."""
    job = votes.evaluation_of(session, workspace, job_id)
    found, fresh = votes.vote(session, job, spec.rater, spec.step, spec.pair, spec.verdict)
    response.status_code = 201 if fresh else 200
    return VoteOut.model_validate(found)
