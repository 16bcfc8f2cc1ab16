"""Evaluations: submit one; everything else about it is that of a job."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.lease import clock
from app.core.models import (
    EVALUATION,
    Checkpoint,
    Job,
    RankingRow,
    log_event,
)
from app.core.spec.catalogue import Catalogue, entry_hash, judge_entry
from app.core.spec.evaluation import ContestantSpec, EvaluationSpec
from app.core.spec.job import JudgeSpec, PromptsSpec
from app.services.bound_rules import budget_faults, deadline_faults
from app.services.catalogue import resolved_judge
from app.services.consistency import require_none
from app.services.evaluation_rules import Asked, asked_judges, evaluation_faults
from app.services.formats.rows import Kind
from app.services.new_jobs import new_job
from app.services.prompts import Chosen, add_stages, choose_stage

GIVEN_KINDS: dict[str, tuple[Kind, ...]] = {
    "likelihood": ("preferences", "dialogues"),
    "letters": ("preferences",),
}


@dataclass(frozen=True)
class Checked:
    """An evaluation that may be queued, with the rows of its stages; nothing is stored yet."""

    job: Job
    stages: list[tuple[str, str, list[int]]]


def submit(session: Session, workspace: str, spec: EvaluationSpec, catalogue: Catalogue) -> Job:
    """Check everything at once and queue it; raises `Invalid` with every fault found."""
    return queue(session, check(session, workspace, spec, catalogue))


def check(session: Session, workspace: str, spec: EvaluationSpec, catalogue: Catalogue) -> Checked:
    """Check everything at once; raises `Invalid` with every fault found."""
    asked = Asked(session, workspace, spec, catalogue)
    chosen = Chosen()
    stages = [
        (name, part.dataset, choose_stage(session, workspace, name, part, kinds, chosen))
        for name, part, kinds in _stages(spec)
    ]
    bounds = (
        *budget_faults(spec.budget, asked_judges(asked)),
        *deadline_faults(spec.deadline_at, clock(session)),
    )
    require_none((*evaluation_faults(asked), *bounds, *chosen.faults))
    return Checked(_queued(asked, chosen, {name: len(rows) for name, _, rows in stages}), stages)


def queue(session: Session, checked: Checked) -> Job:
    """Store what was checked."""
    job = checked.job
    session.add(job)
    session.flush()
    add_stages(session, job, checked.stages)
    session.add(log_event(job, "created", f"Queued with {job.steps_total} things to do."))
    session.flush()
    session.refresh(job)
    return job


def _stages(spec: EvaluationSpec) -> Iterator[tuple[str, PromptsSpec, tuple[Kind, ...]]]:
    if spec.prompts is not None:
        yield "prompts", spec.prompts, ("prompts",)
    if spec.given is not None:
        yield "given", spec.given, GIVEN_KINDS[spec.given.form]


def _pairs(spec: EvaluationSpec) -> list[tuple[int, int]]:
    """Who is compared with whom, by their places: the baseline stands left."""
    if spec.pairwise is None:
        return []
    labels = [one.label for one in spec.contestants]
    if spec.pairwise.baseline is not None:
        base = labels.index(spec.pairwise.baseline)
        return [(base, other) for other in range(len(labels)) if other != base]
    return [(one, other) for one in range(len(labels)) for other in range(one + 1, len(labels))]


def _queued(asked: Asked, chosen: Chosen, rows: Mapping[str, int]) -> Job:
    spec = asked.spec
    pairs = _pairs(spec)
    looks = len(spec.contestants) * (1 + len(spec.scorers)) + 2 * len(pairs)
    total = looks * rows.get("prompts", 0) + len(spec.contestants) * rows.get("given", 0)
    rankings = _rankings(asked)
    total += len(spec.scorers) * rankings
    if spec.consistency is not None:
        total += 2 * min(spec.consistency.n, rankings)
    resolved = _resolved(asked, chosen) | {"pairs": [list(pair) for pair in pairs]}
    return new_job(asked.workspace, EVALUATION, spec, resolved, seed=spec.seed, steps=total)


def _rankings(asked: Asked) -> int:
    """How many rankings the judged job has."""
    query = (
        select(func.count())
        .select_from(RankingRow)
        .where(RankingRow.job_id == asked.spec.judged, RankingRow.black_box.is_not(None))
    )
    return asked.session.scalar(query) or 0


def _resolved(asked: Asked, chosen: Chosen) -> dict[str, Any]:
    values = asked.spec.model_dump(mode="json")
    for name, facts in chosen.facts.items():
        values[name] |= facts
    for told, one in zip(values["contestants"], asked.spec.contestants, strict=True):
        told.update(_known(asked, one))
    for told, scorer in zip(values["scorers"], asked.spec.scorers, strict=True):
        told.update(_judge(asked, scorer))
    if asked.spec.pairwise is not None:
        values["pairwise"]["judge"] |= _judge(asked, asked.spec.pairwise.judge)
    if asked.spec.consistency is not None:
        judged = asked.session.get_one(Job, asked.spec.judged)
        values["consistency"]["judge"] = judged.resolved["judge"]
    values["service_version"] = version("cyclealign")
    return values


def _known(asked: Asked, one: ContestantSpec) -> dict[str, Any]:
    if one.checkpoint is not None:
        row = asked.session.get_one(Checkpoint, one.checkpoint)
        job = asked.session.get_one(Job, row.job_id)
        return {
            "manifest_sha256": row.manifest_sha256,
            "job_id": row.job_id,
            "reward_model": job.resolved["method"]["type"] == "reward_model",
        }
    if one.endpoint is not None:
        return {"entry_sha256": entry_hash(asked.catalogue.judges[one.endpoint])}
    assert one.model is not None
    return {"entry_sha256": entry_hash(asked.catalogue.models[one.model])}


def _judge(asked: Asked, judge: JudgeSpec) -> dict[str, Any]:
    entry = judge_entry(judge, asked.catalogue)
    assert entry is not None
    return resolved_judge(entry)
