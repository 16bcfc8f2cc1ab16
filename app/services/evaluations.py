"""Evaluations: submit one; everything else about it is that of a job."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.errors import FaultAt
from app.core.models import (
    TERMINAL,
    Checkpoint,
    Job,
    RankingRow,
    State,
    log_event,
    new_id,
)
from app.core.rewind import EVALUATION
from app.core.spec.catalogue import Catalogue, OpenAiJudge, entry_hash, judge_entry
from app.core.spec.evaluation import ContestantSpec, EvaluationSpec
from app.core.spec.job import JudgeSpec, PromptsSpec
from app.services.catalogue import resolved_judge, traits_of
from app.services.configs import config_sha256
from app.services.consistency import length_faults, require_none
from app.services.entries import checkpoint_fault, judge_fault
from app.services.formats.rows import Kind
from app.services.prompts import Chosen, add_stages, choose_stage, ready_rows


@dataclass(frozen=True)
class Asked:
    """An evaluation with what it is checked against."""

    session: Session
    workspace: str
    spec: EvaluationSpec
    catalogue: Catalogue


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
    require_none((*_faults(asked), *chosen.faults))
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
        yield "given", spec.given, ("preferences", "dialogues")


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
    return Job(
        id=new_id("job"),
        workspace_id=asked.workspace,
        kind=EVALUATION,
        name=spec.name,
        state=State.QUEUED.value,
        spec=spec.model_dump(mode="json", exclude_unset=True),
        resolved=resolved,
        config_sha256=config_sha256(resolved),
        seed=spec.seed,
        meta=spec.metadata,
        attempt=0,
        steps_total=total,
        progress={"steps_done": 0, "steps_total": total},
        usage={},
        event_seq=0,
    )


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


def _faults(asked: Asked) -> Iterator[FaultAt]:
    spec = asked.spec
    labels = [one.label for one in spec.contestants]
    if spec.prompts is None:
        yield from _unanswerable_faults(spec)
    if not spec.contestants and (spec.prompts or spec.given):
        yield FaultAt("missing", "There is nobody to answer.", "/contestants")
    yield from _judged_faults(asked)
    if len(set(labels)) < len(labels):
        yield _wrong("Two contestants have the same 'label'.", "/contestants")
    for place, one in enumerate(spec.contestants):
        yield from _contestant_faults(asked, one, f"/contestants/{place}")
    for place, scorer in enumerate(spec.scorers):
        yield from _scorer_faults(asked, scorer, f"/scorers/{place}")
    yield from length_faults(spec.generation.model_dump())
    yield from _pairwise_faults(asked, labels)


def _judged_faults(asked: Asked) -> Iterator[FaultAt]:
    if asked.spec.judged is None:
        if asked.spec.consistency is not None:
            yield _wrong("'consistency' needs a 'judged' job.", "/consistency")
        return
    if not asked.spec.scorers and asked.spec.consistency is None:
        message = "'judged' needs 'scorers' to compare the judge with, or 'consistency'."
        yield _wrong(message, "/judged")
    job = asked.session.get(Job, asked.spec.judged)
    if job is None or job.workspace_id != asked.workspace:
        yield FaultAt("job_not_found", "There is no such job.", "/judged")
    elif job.resolved.get("method", {}).get("type") != "cyclealign":
        yield _wrong("Only a 'cyclealign' job has a judge's rankings.", "/judged")
    elif State(job.state) not in TERMINAL:
        yield _wrong("The job has not ended yet, so its rankings may still change.", "/judged")


def _unanswerable_faults(spec: EvaluationSpec) -> Iterator[FaultAt]:
    if spec.given is None and spec.judged is None:
        message = "Give 'prompts' to answer, 'given' responses, a 'judged' job, or several of them."
        yield FaultAt("missing", message, "/prompts")
    if spec.scorers and spec.judged is None:
        yield _wrong("Without 'prompts' there are no answers to score.", "/scorers")
    if spec.pairwise is not None:
        yield _wrong("Without 'prompts' there are no answers to compare.", "/pairwise")


def _pairwise_faults(asked: Asked, labels: list[str]) -> Iterator[FaultAt]:
    pairwise = asked.spec.pairwise
    if pairwise is None:
        return
    if len(labels) == 1:
        yield _wrong("One contestant alone cannot be compared.", "/pairwise")
    if pairwise.baseline is not None and pairwise.baseline not in labels:
        yield _wrong("No contestant has this label.", "/pairwise/baseline")
    fault = judge_fault(
        asked.session, asked.workspace, pairwise.judge, asked.catalogue, "/pairwise/judge"
    )
    if fault is not None:
        yield fault


def _contestant_faults(asked: Asked, one: ContestantSpec, pointer: str) -> Iterator[FaultAt]:
    if sum(source is not None for source in (one.model, one.checkpoint, one.endpoint)) != 1:
        yield _wrong("Give one of 'model', 'checkpoint' and 'endpoint'.", pointer)
    else:
        yield from _source_faults(asked, one, pointer)
    if (one.strategy == "icl") is (one.examples is None):
        yield _wrong("'examples' are for the strategy 'icl', which needs them.", pointer)
    if one.examples is not None:
        yield from _example_faults(asked, one, f"{pointer}/examples")


def _source_faults(asked: Asked, one: ContestantSpec, pointer: str) -> Iterator[FaultAt]:
    if one.model is not None and one.model not in asked.catalogue.models:
        message = "No such model; see GET /v1/models."
        yield FaultAt("model_not_allowed", message, f"{pointer}/model")
    if one.endpoint is not None:
        yield from _endpoint_faults(asked, one.endpoint, f"{pointer}/endpoint")
    if one.checkpoint is not None:
        answers = None if asked.spec.prompts is None else False
        place = f"{pointer}/checkpoint"
        fault = checkpoint_fault(
            asked.session, asked.workspace, one.checkpoint, place, reward_model=answers
        )
        if fault is not None:
            yield fault


def _endpoint_faults(asked: Asked, name: str, pointer: str) -> Iterator[FaultAt]:
    if not isinstance(asked.catalogue.judges.get(name), OpenAiJudge):
        message = "No such judge of type 'openai'; see GET /v1/judges."
        yield FaultAt("judge_not_allowed", message, pointer)
    if asked.spec.given is not None:
        yield _wrong("An endpoint tells no probabilities of 'given' responses.", pointer)
    if asked.spec.samples_per_prompt > 1:
        yield _wrong("An endpoint gives one answer; set 'samples_per_prompt' to 1.", pointer)


def _example_faults(asked: Asked, one: ContestantSpec, pointer: str) -> Iterator[FaultAt]:
    assert one.examples is not None
    row_count = ready_rows(asked.session, asked.workspace, one.examples.dataset, ("dialogues",))
    if row_count is None:
        message = "A ready dataset of kind 'dialogues' is needed here."
        yield FaultAt("wrong_dataset_kind", message, f"{pointer}/dataset")
    elif row_count < one.examples.n:
        message = f"The dataset has {row_count} rows only."
        yield FaultAt("sample_too_large", message, f"{pointer}/n")


def _scorer_faults(asked: Asked, scorer: JudgeSpec, pointer: str) -> Iterator[FaultAt]:
    fault = judge_fault(asked.session, asked.workspace, scorer, asked.catalogue, pointer)
    if fault is not None:
        yield fault
        return
    entry = judge_entry(scorer, asked.catalogue)
    if entry is not None and not traits_of(entry).gives_scores:
        yield _wrong("This judge gives no scores; it can compare in 'pairwise'.", pointer)


def _wrong(message: str, pointer: str) -> FaultAt:
    return FaultAt("inconsistent_parameters", message, pointer)
