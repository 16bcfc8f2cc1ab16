"""What a job's names stand for: an entry of the catalogue, or a checkpoint of one's own."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.core.errors import FaultAt
from app.core.models import Checkpoint, Job
from app.core.spec.catalogue import Catalogue, JudgeEntry, ModelEntry, judge_entry
from app.core.spec.job import JobSpec, JudgeSpec
from app.services.catalogue import Traits, traits_of
from app.services.checkpoints import find_with_job


@dataclass(frozen=True)
class Entries:
    """What a job names, None where there is none, and what is wrong with the judge."""

    model: ModelEntry | None
    judge: JudgeEntry | None = None
    start: tuple[Checkpoint, Job] | None = None
    """The checkpoint whose weights it starts from, and the job that made that."""
    faults: tuple[FaultAt, ...] = ()

    @property
    def traits(self) -> Traits | None:
        """What the judge can do."""
        return None if self.judge is None else traits_of(self.judge)


def entries_of(session: Session, workspace: str, spec: JobSpec, catalogue: Catalogue) -> Entries:
    """Look the job's names up."""
    model = catalogue.models.get(spec.model.name)
    named = spec.model.checkpoint
    start = None if named is None else find_with_job(session, workspace, named)
    if spec.judge is None:
        return Entries(model, start=start)
    fault = judge_fault(session, workspace, spec.judge, catalogue, "/judge")
    if fault is not None:
        return Entries(model, start=start, faults=(fault,))
    return Entries(model, judge_entry(spec.judge, catalogue), start)


def judge_fault(
    session: Session, workspace: str, judge: JudgeSpec, catalogue: Catalogue, pointer: str
) -> FaultAt | None:
    """Say why a judge cannot be asked, or None."""
    if (judge.name is None) == (judge.checkpoint is None):
        message = "Give either 'name' or 'checkpoint'."
        return FaultAt("inconsistent_parameters", message, pointer)
    if judge.checkpoint is not None:
        place = f"{pointer}/checkpoint"
        return checkpoint_fault(session, workspace, judge.checkpoint, place, reward_model=True)
    if judge_entry(judge, catalogue) is None:
        message = "No such judge; see GET /v1/judges."
        return FaultAt("judge_not_allowed", message, f"{pointer}/name")
    return None


def checkpoint_fault(
    session: Session, workspace: str, checkpoint_id: str, pointer: str, *, reward_model: bool | None
) -> FaultAt | None:
    """Say why a checkpoint cannot judge, or cannot answer; only a final one holds a whole model.

    With None for `reward_model` it may be one or not.
    """
    found = find_with_job(session, workspace, checkpoint_id)
    if found is None:
        return FaultAt("checkpoint_not_found", "There is no such checkpoint.", pointer)
    checkpoint, job = found
    found_one = job.resolved["method"]["type"] == "reward_model"
    if reward_model is not None and found_one is not reward_model:
        message = "It is no reward model." if reward_model else "A reward model answers nothing."
        return FaultAt("inconsistent_parameters", message, pointer)
    if checkpoint.state != "ready" or not checkpoint.final:
        message = "Only a job's final checkpoint holds a whole model; see 'result' of its job."
        return FaultAt("inconsistent_parameters", message, pointer)
    return None
