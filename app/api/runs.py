"""What a run recorded, over HTTP: every list is paged, the long ones are JSON Lines as well."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from app.api import showing
from app.api.deps import SessionDep, WorkspaceDep, only_declared_parameters
from app.api.jobs import JobId
from app.api.lines import ALSO_LINES, AnswerDep, paged
from app.api.pages import Page, PageDep
from app.api.schemas_runs import (
    AgreementOut,
    CheckpointOut,
    DemonstrationOut,
    EventOut,
    JudgeCallOut,
    ListedResponseOut,
    MetricsOut,
    RankingOut,
    StageUsageOut,
    UsageOut,
)
from app.core.models import Job
from app.core.spec.base import Text
from app.services import jobs, metrics, runs
from app.services.usage import usage_by_stage

router = APIRouter(
    prefix="/v1/jobs/{job_id}", tags=["runs"], dependencies=[Depends(only_declared_parameters)]
)

Update = Annotated[int | None, Query(ge=0, le=2**31 - 1)]


def _job(session: SessionDep, workspace: WorkspaceDep, job_id: JobId) -> Job:
    return jobs.get(session, workspace, job_id)


def _where(
    stage: Annotated[
        Text | None,
        Query(max_length=40, description="`align`, `held_out_before` or `held_out_after`."),
    ] = None,
    step: Annotated[int | None, Query(ge=0, le=2**31 - 1)] = None,
) -> runs.Where:
    return runs.Where(stage, step)


JobDep = Annotated[Job, Depends(_job)]
WhereDep = Annotated[runs.Where, Depends(_where)]


@router.get(
    "/events",
    operation_id="jobs_events",
    summary="List a job's events",
    response_model=Page[EventOut],
    responses=ALSO_LINES,
)
def events(
    answer: AnswerDep,
    job: JobDep,
    type: Annotated[Text | None, Query(max_length=80)] = None,  # noqa: A002  # the field's name
) -> Any:
    """List the append-only log, oldest first."""
    return answer(runs.events(job, type), showing.events)


def _span(
    names: Annotated[
        Text | None, Query(max_length=1000, description="Series, with commas between.")
    ] = None,
    from_update: Update = None,
    to_update: Update = None,
    max_points: Annotated[int, Query(ge=2, le=10_000, description="Of every series.")] = 1000,
) -> metrics.Span:
    return metrics.Span(names.split(",") if names else (), from_update, to_update, max_points)


@router.get("/metrics", operation_id="jobs_metrics", summary="Get a job's metrics")
def get_metrics(
    session: SessionDep, job: JobDep, span: Annotated[metrics.Span, Depends(_span)]
) -> MetricsOut:
    """Return series over the weights versions; long ones are thinned evenly and say so."""
    found = metrics.read(session, job, span)
    return MetricsOut(job_id=job.id, data=[showing.series(one) for one in found])


@router.get(
    "/rankings",
    operation_id="jobs_rankings",
    summary="List a job's rankings",
    response_model=Page[RankingOut],
    responses=ALSO_LINES,
)
def rankings(
    answer: AnswerDep,
    job: JobDep,
    where: WhereDep,
    outcome: Annotated[Text | None, Query(max_length=40)] = None,
) -> Any:
    """List one row a prompt and iteration: both orders, the responses, what was learned."""
    return answer(runs.rankings(job, where, outcome), showing.rankings(job))


@router.get(
    "/responses",
    operation_id="jobs_responses",
    summary="List a job's responses",
    response_model=Page[ListedResponseOut],
    responses=ALSO_LINES,
)
def responses(
    answer: AnswerDep,
    job: JobDep,
    where: WhereDep,
) -> Any:
    """List every sampled response, those of the held-out prompts among them."""
    return answer(runs.responses(job, where), showing.responses(job))


@router.get("/agreements", operation_id="jobs_agreements", summary="List a job's agreements")
def agreements(
    session: SessionDep, job: JobDep, where: WhereDep, ask: PageDep
) -> Page[AgreementOut]:
    """List what both rankings agreed on, beside what chance would give."""
    return paged(session, runs.agreements(job, where), ask, showing.agreements)


@router.get(
    "/demonstrations", operation_id="jobs_demonstrations", summary="List a job's demonstrations"
)
def demonstrations(
    session: SessionDep, job: JobDep, where: WhereDep, ask: PageDep
) -> Page[DemonstrationOut]:
    """List the dynamic demonstrations by the iteration that made them."""
    return paged(session, runs.demonstrations(job, where), ask, showing.demonstrations)


@router.get(
    "/judge-calls",
    operation_id="jobs_judge_calls",
    summary="List a job's judge calls",
    response_model=Page[JudgeCallOut],
    responses=ALSO_LINES,
)
def judge_calls(
    answer: AnswerDep,
    job: JobDep,
    where: WhereDep,
    *,
    include_request: Annotated[bool, Query(description="Also what was asked, in full.")] = False,
) -> Any:
    """List the ledger: every post to the judge and every answer that was used again."""
    show = showing.judge_calls(job, include_request=include_request)
    return answer(runs.judge_calls(job, where), show)


@router.get("/usage", operation_id="jobs_usage", summary="Sum up a job's judge calls")
def usage(session: SessionDep, job: JobDep) -> UsageOut:
    """Count posts by outcome, reuses, faults of replies, tokens and cost, by stage of the run."""
    stages = [StageUsageOut.model_validate(one) for one in usage_by_stage(session, job)]
    return UsageOut(job_id=job.id, data=stages)


@router.get("/checkpoints", operation_id="jobs_checkpoints", summary="List a job's checkpoints")
def checkpoints(session: SessionDep, job: JobDep, ask: PageDep) -> Page[CheckpointOut]:
    """List the checkpoints, oldest first."""
    return paged(session, runs.checkpoints(job), ask, showing.checkpoints)
