"""The job as users see it."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from pydantic import ConfigDict, Field

from app.api.schemas import Out, Time
from app.core.budget import CALLS, COMPUTE, COST, TOKENS
from app.core.models import Attempt, Job, State, allowed_actions
from app.core.spec.budget import MICROS
from app.services.eta import outlook


class ProgressOut(Out):
    """How far the run is; figures that it has not yet made are absent."""

    model_config = ConfigDict(extra="allow")

    fraction: float = Field(description="Share of the steps that are done.")
    steps_done: int
    steps_total: int
    step: int | None = Field(default=None, description="The prompt worked on last.")
    iteration: int | None = None
    iterations_max: int | None = Field(default=None, description="N, of every prompt.")


class ResultOut(Out):
    """What the job made."""

    checkpoint_id: str | None


class MoneyOut(Out):
    """A budget's line in money, as decimal strings."""

    cap: str | None
    spent: str
    reserved: str = Field(description="The most that calls in flight may still take.")
    currency: str | None = Field(description="Of the judge's price; null until it is asked.")


class AmountOut(Out):
    """A budget's line in whole units."""

    cap: int | None
    spent: int
    reserved: int


class SecondsOut(Out):
    """A budget's line in seconds; the attempt that runs counts when it ends."""

    cap: float | None
    spent: float


class BudgetOut(Out):
    """What the job may use, and what it has used."""

    judge_cost: MoneyOut
    judge_tokens: AmountOut
    judge_calls: AmountOut
    compute_seconds: SecondsOut


class AttemptOut(Out):
    """One grant of the job to a worker; ended attempts never change."""

    attempt: int
    owner: str
    started_at: Time
    ended_at: Time | None
    outcome: str | None
    from_checkpoint_id: str | None
    from_round: int
    environment: dict[str, Any] | None


class JobOut(Out):
    """A job; `attempts` stands in the answer for one job only."""

    id: str
    object: Literal["job"] = "job"
    kind: str
    parent_id: str | None
    cloned_from: str | None = Field(description="The job whose spec this one was made of.")
    name: str
    status: State
    phase: str | None
    progress: ProgressOut
    eta_seconds: float | None
    estimated_finish_at: Time | None
    allowed_actions: list[str]
    spec: dict[str, Any] = Field(description="What was asked, as it was asked.")
    resolved: dict[str, Any] = Field(description="What each field became.")
    config_sha256: str | None = Field(
        description="Of what decides the result; jobs with equal ones give the same."
    )
    seed: int
    usage: dict[str, Any]
    budget: BudgetOut
    deadline_at: Time | None
    attempt: int
    attempts: list[AttemptOut] | None
    round: int
    update: int
    error: dict[str, Any] | None = Field(
        description="Why it failed; of a job that waits or is paused, what made it so."
    )
    run_after: Time = Field(description="It is not begun before; later than now, it waits.")
    result: ResultOut
    metadata: dict[str, str]
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    cancel_requested_at: Time | None


def job_out(job: Job, now: datetime, attempts: Sequence[Attempt] | None = None) -> JobOut:
    """Show a job as it is at this moment."""
    view = outlook(job, now)
    return JobOut(
        **{name: getattr(job, name) for name in _SAME},
        status=State(job.state),
        progress=ProgressOut(**{**_steps(job), **job.progress, "fraction": view.fraction}),
        eta_seconds=view.seconds,
        estimated_finish_at=view.finish_at,
        allowed_actions=list(allowed_actions(State(job.state))),
        attempts=None if attempts is None else [AttemptOut.model_validate(a) for a in attempts],
        result=ResultOut(checkpoint_id=job.result_checkpoint_id),
        budget=_budget(job),
        metadata=job.meta,
    )


def _budget(job: Job) -> BudgetOut:
    lines = job.budget
    money = {name: _units(value) for name, value in lines[COST].items()}
    seconds = {name: _units(value) for name, value in lines[COMPUTE].items()}
    return BudgetOut(
        judge_cost=MoneyOut(
            cap=None if money["cap"] is None else str(money["cap"]),
            spent=str(money["spent"]),
            reserved=str(money["reserved"]),
            currency=job.usage.get("currency"),
        ),
        judge_tokens=AmountOut(**lines[TOKENS]),
        judge_calls=AmountOut(**lines[CALLS]),
        compute_seconds=SecondsOut(cap=seconds["cap"], spent=float(seconds["spent"] or 0)),
    )


def _units(micros: int | None) -> Decimal | None:
    return None if micros is None else Decimal(micros) / MICROS


_SAME = (
    *("id", "kind", "parent_id", "cloned_from", "name", "phase", "spec", "resolved"),
    *("config_sha256", "seed", "usage", "attempt", "round", "update", "error", "created_at"),
    *("started_at", "finished_at", "cancel_requested_at", "deadline_at", "run_after"),
)


def _steps(job: Job) -> dict[str, Any]:
    most = job.resolved.get("method", {}).get("iterations")
    return {"steps_done": 0, "steps_total": job.steps_total, "iterations_max": most}
