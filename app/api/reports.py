"""What a job found, over HTTP."""

from dataclasses import asdict

from fastapi import APIRouter, Depends

from app.api.deps import SessionDep, WorkspaceDep, only_declared_parameters
from app.api.jobs import JobId
from app.api.schemas_reports import RewardReportOut
from app.core.errors import NotFound
from app.services import jobs
from app.services.reports.reward_model import reward_report

router = APIRouter(
    prefix="/v1/jobs/{job_id}", tags=["runs"], dependencies=[Depends(only_declared_parameters)]
)


@router.get("/report", operation_id="jobs_report", summary="Get a job's report")
def report(session: SessionDep, workspace: WorkspaceDep, job_id: JobId) -> RewardReportOut:
    """Reckon what the job found from its rows: so far, the accuracy of reward models."""
    job = jobs.get(session, workspace, job_id)
    if job.resolved["method"]["type"] != "reward_model":
        raise NotFound("Jobs of this method have no report; see its metrics.", code="no_report")
    return RewardReportOut(job_id=job.id, **asdict(reward_report(session, job)))
