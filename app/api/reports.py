"""What a job found, over HTTP."""

from dataclasses import asdict

from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse, PlainTextResponse
from sqlalchemy.orm import Session

from app.api.deps import SessionDep, WorkspaceDep, only_declared_parameters
from app.api.downloads import attachment
from app.api.examples_experiments import CSV_EXAMPLE, HTML_EXAMPLE
from app.api.jobs import JobId
from app.api.schemas_experiments import ExperimentReportOut
from app.api.schemas_reports import EvaluationReportOut, RewardReportOut
from app.core.errors import NotFound
from app.core.models import EVALUATION, EXPERIMENT
from app.services import jobs
from app.services.reports.evaluation import evaluation_report
from app.services.reports.experiment import ExperimentReport, experiment_report
from app.services.reports.reward_model import reward_report
from app.web.experiment_page import as_html
from app.web.tables import as_csv

router = APIRouter(
    prefix="/v1/jobs/{job_id}", tags=["runs"], dependencies=[Depends(only_declared_parameters)]
)


class Csv(PlainTextResponse):
    """Lines of cells."""

    media_type = "text/csv"


@router.get("/report", operation_id="jobs_report", summary="Get a job's report")
def report(
    session: SessionDep, workspace: WorkspaceDep, job_id: JobId
) -> EvaluationReportOut | RewardReportOut | ExperimentReportOut:
    """Reckon what an evaluation, an experiment or a reward model found, from the rows there are."""
    job = jobs.get(session, workspace, job_id)
    if job.kind == EXPERIMENT:
        made = experiment_report(session, job)
        return ExperimentReportOut.model_validate({"job_id": job.id, **asdict(made)})
    if job.kind == EVALUATION:
        found = evaluation_report(session, job)
        return EvaluationReportOut.model_validate({"job_id": job.id, **asdict(found)})
    if job.resolved["method"]["type"] == "reward_model":
        return RewardReportOut(job_id=job.id, **asdict(reward_report(session, job)))
    raise NotFound("Jobs of this method have no report; see its metrics.", code="no_report")


@router.get(
    "/report.csv",
    operation_id="jobs_report_csv",
    summary="Get an experiment's report as a table",
    response_class=Csv,
    responses={200: {"content": {"text/csv": {"example": CSV_EXAMPLE}}}},
)
def report_csv(session: SessionDep, workspace: WorkspaceDep, job_id: JobId) -> Csv:
    """One line for each row and scorer."""
    text = as_csv(_experiment(session, workspace, job_id))
    headers = {"Content-Disposition": attachment(f"{job_id}.csv")}
    return Csv(text, headers=headers)


@router.get(
    "/report.html",
    operation_id="jobs_report_html",
    summary="Get an experiment's report as a page",
    response_class=HTMLResponse,
    responses={200: {"content": {"text/html": {"example": HTML_EXAMPLE}}}},
)
def report_html(session: SessionDep, workspace: WorkspaceDep, job_id: JobId) -> HTMLResponse:
    """Tables and figures in one file that needs no server."""
    return HTMLResponse(as_html(_experiment(session, workspace, job_id)))


def _experiment(session: Session, workspace: str, job_id: str) -> ExperimentReport:
    job = jobs.get(session, workspace, job_id)
    if job.kind != EXPERIMENT:
        raise NotFound("Only experiments have this report.", code="no_report")
    return experiment_report(session, job)
