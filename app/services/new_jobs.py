"""The row of a job of any kind, before it is stored."""

from typing import Any

from app.core.budget import new_budget
from app.core.models import Job, State, new_id
from app.core.spec.evaluation import EvaluationSpec
from app.core.spec.experiment import ExperimentSpec
from app.core.spec.job import JobSpec
from app.services.configs import config_sha256

AnySpec = JobSpec | EvaluationSpec | ExperimentSpec


def new_job(
    workspace: str, kind: str, spec: AnySpec, resolved: dict[str, Any], *, seed: int, steps: int
) -> Job:
    """Make a queued job that has done nothing."""
    return Job(
        id=new_id("job"),
        workspace_id=workspace,
        kind=kind,
        name=spec.name,
        state=State.QUEUED.value,
        spec=spec.model_dump(mode="json", by_alias=True, exclude_unset=True),
        resolved=resolved,
        config_sha256=config_sha256(resolved),
        seed=seed,
        meta=spec.metadata,
        attempt=0,
        steps_total=steps,
        progress={"steps_done": 0, "steps_total": steps},
        usage={},
        **_bounds(spec),
        event_seq=0,
    )


def _bounds(spec: AnySpec) -> dict[str, Any]:
    """What ends or pauses a job early; those of an experiment are its runs'."""
    if isinstance(spec, ExperimentSpec):
        return {}
    return {"budget": new_budget(spec.budget.caps()), "deadline_at": spec.deadline_at}
