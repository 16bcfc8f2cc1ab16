"""The datasets that a job names: are they there, do they fit, and which rows are used."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Text, cast, func, insert, select
from sqlalchemy.orm import Session

from app.core.errors import FaultAt
from app.core.models import Dataset, DatasetRow, Job, JobPrompt, run_rows
from app.core.spec.job import DemonstrationsSpec, HeldOutSpec, JobSpec, PromptsSpec
from app.core.spec.method import RewardModel
from app.services.formats.rows import Kind
from app.services.sampling import TooFewRows, choose, split

KINDS: dict[str, tuple[Kind, ...]] = {
    "cyclealign": ("prompts",),
    "ranking": ("preferences",),
    "sft": ("dialogues", "preferences"),
    "reward_model": ("preferences",),
}
"""The kinds of dataset that a method works on."""
DIGEST = func.md5(cast(DatasetRow.messages, Text))
"""Of a row's prompt."""


@dataclass
class Chosen:
    """The rows of all stages, what is recorded of their datasets, and everything wrong."""

    prompts: list[int] = field(default_factory=list)
    validation: list[int] = field(default_factory=list)
    held_out: list[int] = field(default_factory=list)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[FaultAt] = field(default_factory=list)


def choose_rows(
    session: Session, workspace: str, spec: JobSpec, before: Sequence[str] = ()
) -> Chosen:
    """Choose the rows of all stages; no held-out prompt is among those that train.

    `before` names the jobs that trained the weights which this one starts from.
    """
    chosen = Chosen()
    kinds = KINDS[spec.method.type]
    chosen.prompts = choose_stage(session, workspace, "prompts", spec.prompts, kinds, chosen)
    if isinstance(spec.method, RewardModel) and chosen.prompts:
        _hold_out(session, spec.prompts.dataset, spec.method.validation_share, spec.seed, chosen)
    if spec.held_out is not None:
        trained = _digests(session, spec.prompts.dataset, chosen.prompts)
        trained |= _trained(session, before)
        chosen.held_out = choose_stage(
            session, workspace, "held_out", spec.held_out, ("prompts",), chosen, trained
        )
    if isinstance(spec.demonstrations, DemonstrationsSpec):
        _demonstrations(session, workspace, spec.demonstrations, chosen)
    return chosen


def choose_stage(
    session: Session,
    workspace: str,
    name: str,
    spec: PromptsSpec | HeldOutSpec,
    kinds: Sequence[Kind],
    chosen: Chosen,
    apart: AbstractSet[str] = frozenset(),
) -> list[int]:
    """Choose the rows of one field, `name`; what is wrong with it is noted in `chosen`.

    Rows whose prompts, as `_digests` names them, are `apart` stay out, whatever dataset they are
    of; how many there are is recorded.
    """
    dataset = _dataset(session, workspace, name, spec.dataset, kinds, chosen)
    if dataset is None:
        return []
    query = select(DatasetRow.position, DatasetRow.subset, DIGEST).order_by(DatasetRow.position)
    found = session.execute(query.where(DatasetRow.dataset_id == dataset.id)).all()
    rows = [(position, subset) for position, subset, digest in found if digest not in apart]
    left_out = len(found) - len(rows)
    if not rows:
        chosen.faults.append(_no_rows(name, trains=left_out > 0))
        return []
    try:
        positions = choose(rows, spec.sample)
    except TooFewRows as few:
        chosen.faults.append(_too_few(name, few, spec, trained=left_out))
        return []
    chosen.facts[name] = {"sha256": dataset.sha256, "rows": len(positions)}
    if apart:
        chosen.facts[name]["left_out"] = left_out
    return positions


def _digests(session: Session, dataset: str, positions: Sequence[int]) -> frozenset[str]:
    """Name the prompts of some rows: equal for equal prompts."""
    among = frozenset(positions)
    query = select(DatasetRow.position, DIGEST).where(DatasetRow.dataset_id == dataset)
    found = session.execute(query)
    return frozenset(digest for position, digest in found if position in among)


def _trained(session: Session, job_ids: Sequence[str]) -> frozenset[str]:
    """Name the prompts that these jobs train on."""
    found = (session.scalars(run_rows(job_id, ["align"], DIGEST)) for job_id in job_ids)
    return frozenset(digest for digests in found for digest in digests)


def _hold_out(session: Session, dataset: str, share: float, seed: int, chosen: Chosen) -> None:
    """Take some of the chosen rows for validation, by their prompts."""
    query = select(DatasetRow.position, DIGEST).where(DatasetRow.dataset_id == dataset)
    among = frozenset(chosen.prompts)
    found = session.execute(query.order_by(DatasetRow.position))
    rows = [(position, digest) for position, digest in found if position in among]
    try:
        chosen.prompts, chosen.validation = split(rows, share, seed)
    except TooFewRows:
        message = "All rows have the same prompt, so none can be held out."
        chosen.faults.append(FaultAt("inconsistent_parameters", message, "/prompts/dataset"))
    chosen.facts["method"] = {"validation_rows": len(chosen.validation)}


def _no_rows(name: str, *, trains: bool) -> FaultAt:
    if trains:
        return FaultAt(
            "inconsistent_parameters",
            "Every row of this dataset trains, so none is left to hold out. "
            "Set 'prompts.sample', or name another dataset in 'held_out.dataset'.",
            f"/{name}/dataset",
        )
    return FaultAt("dataset_empty", "The dataset has no rows.", f"/{name}/dataset")


def _too_few(name: str, few: TooFewRows, spec: PromptsSpec, *, trained: int) -> FaultAt:
    whose = "a subset" if spec.sample and spec.sample.per_subset else "the dataset"
    beside = f" beside the {trained} that train" if trained else ""
    message = f"The sample is larger than {whose}, which has {few.rows} rows{beside}."
    return FaultAt("sample_too_large", message, f"/{name}/sample/n")


def _demonstrations(
    session: Session, workspace: str, spec: DemonstrationsSpec, chosen: Chosen
) -> None:
    name = "demonstrations"
    dataset = _dataset(session, workspace, name, spec.dataset, ("demonstrations",), chosen)
    if dataset is None:
        return
    if spec.n > dataset.row_count:
        message = f"The dataset has {dataset.row_count} rows only."
        chosen.faults.append(FaultAt("sample_too_large", message, f"/{name}/n"))
    chosen.facts[name] = {"sha256": dataset.sha256, "rows": spec.n}


def _dataset(
    session: Session,
    workspace: str,
    name: str,
    dataset_id: str,
    kinds: Sequence[Kind],
    chosen: Chosen,
) -> Dataset | None:
    owned = (Dataset.id == dataset_id, Dataset.workspace_id == workspace)
    dataset = session.scalars(select(Dataset).where(*owned)).one_or_none()
    fault = _misfit(dataset, kinds)
    if fault is not None:
        code, message = fault
        chosen.faults.append(FaultAt(code, message, f"/{name}/dataset"))
        return None
    return dataset


def ready_rows(
    session: Session, workspace: str, dataset_id: str, kinds: Sequence[Kind]
) -> int | None:
    """Count the rows of a dataset that is ready and of one of these kinds; None if it is not."""
    owned = (Dataset.id == dataset_id, Dataset.workspace_id == workspace)
    dataset = session.scalars(select(Dataset).where(*owned)).one_or_none()
    return None if dataset is None or _misfit(dataset, kinds) else dataset.row_count


def _misfit(dataset: Dataset | None, kinds: Sequence[Kind]) -> tuple[str, str] | None:
    if dataset is None:
        return "dataset_not_found", "There is no such dataset."
    if dataset.state != "ready":
        return "dataset_not_ready", "The dataset is invalid; its issues say why."
    if dataset.kind not in kinds:
        wanted = " or ".join(repr(kind) for kind in kinds)
        return "wrong_dataset_kind", f"A dataset of kind {wanted} is needed here."
    return None


def add_prompts(session: Session, job: Job, spec: JobSpec, chosen: Chosen) -> None:
    """Write the run's prompts in order, all stages; the job's row is already there."""
    stages = [
        ("align", spec.prompts.dataset, chosen.prompts),
        ("validation", spec.prompts.dataset, chosen.validation),
    ]
    if spec.held_out is not None:
        stages.append(("held_out", spec.held_out.dataset, chosen.held_out))
    add_stages(session, job, stages)


def add_stages(session: Session, job: Job, stages: Iterable[tuple[str, str, list[int]]]) -> None:
    """Write the rows of each stage in order: its name, its dataset, positions in that."""
    rows = [
        {
            "workspace_id": job.workspace_id,
            "job_id": job.id,
            "stage": stage,
            "step": step,
            "dataset_id": dataset,
            "position": position,
        }
        for stage, dataset, positions in stages
        for step, position in enumerate(positions)
    ]
    if rows:
        session.execute(insert(JobPrompt), rows)
