"""What a job found, over HTTP."""

from dataclasses import asdict

from fastapi import APIRouter, Depends

from app.api.deps import SessionDep, WorkspaceDep, only_declared_parameters
from app.api.jobs import JobId
from app.api.schemas_reports import EvaluationReportOut, RewardReportOut
from app.core.errors import NotFound
from app.core.rewind import EVALUATION
from app.services import jobs
from app.services.reports.evaluation import evaluation_report
from app.services.reports.reward_model import reward_report

router = APIRouter(
    prefix="/v1/jobs/{job_id}", tags=["runs"], dependencies=[Depends(only_declared_parameters)]
)


@router.get("/report", operation_id="jobs_report", summary="Get a job's report")
def report(
    session: SessionDep, workspace: WorkspaceDep, job_id: JobId
) -> EvaluationReportOut | RewardReportOut:
    """Reckon what an evaluation or a reward model found, from the rows that are there."""
    job = jobs.get(session, workspace, job_id)
    if job.kind == EVALUATION:
        found = evaluation_report(session, job)
        return EvaluationReportOut.model_validate({"job_id": job.id, **asdict(found)})
    if job.resolved["method"]["type"] == "reward_model":
        return RewardReportOut(job_id=job.id, **asdict(reward_report(session, job)))
    raise NotFound("Jobs of this method have no report; see its metrics.", code="no_report")
