"""Which checkpoints a job can start from: those whose weights it can go on training."""

from collections.abc import Iterator
from typing import Any

from app.core.errors import FaultAt
from app.core.models import Checkpoint, Job
from app.core.spec.catalogue import entry_hash
from app.core.spec.job import Full, JobSpec, Lora
from app.services.consistency import inconsistent
from app.services.entries import Entries

START = ("model", "checkpoint")


def start_faults(spec: JobSpec, entries: Entries) -> Iterator[FaultAt]:
    """Yield why the job cannot start from its checkpoint."""
    if spec.model.checkpoint is None:
        return
    if entries.start is None:
        yield FaultAt("checkpoint_not_found", "There is no such checkpoint.", "/model/checkpoint")
        return
    checkpoint, job = entries.start
    if checkpoint.state != "ready":
        message = "Its stored bytes are not those of its manifest; start from another one."
        yield FaultAt("checkpoint_not_ready", message, "/model/checkpoint")
    elif job.resolved["method"]["type"] == "reward_model":
        yield inconsistent(
            START,
            "It is a reward model: its head gives scores, and the head that answers is missing. "
            "Start from a checkpoint of another method.",
        )
    else:
        yield from _model_faults(spec, entries, job.resolved["model"])
        yield from _form_faults(spec, checkpoint, job.resolved["model"]["tuning"])


def _model_faults(spec: JobSpec, entries: Entries, theirs: dict[str, Any]) -> Iterator[FaultAt]:
    if spec.model.name != theirs["name"]:
        yield inconsistent(
            START, f"It is of the model {theirs['name']!r}; name that one in 'model.name'."
        )
    elif entries.model is not None and entry_hash(entries.model) != theirs["entry_sha256"]:
        yield inconsistent(
            START,
            f"The catalogue's model {theirs['name']!r} is no longer the one that it was made of; "
            "the operator can restore the entry.",
        )


def _form_faults(
    spec: JobSpec, checkpoint: Checkpoint, theirs: dict[str, Any]
) -> Iterator[FaultAt]:
    forms = {entry.get("form") for entry in checkpoint.manifest["files"]}
    match spec.model.tuning:
        case Full():
            if "merged" not in forms:
                yield inconsistent(
                    START,
                    "Full tuning starts from a whole model, and this is an adapter alone; the "
                    "final checkpoint of its job holds both, see 'result'.",
                )
        case Lora() as ours:
            if "adapter" in forms:
                yield from _size_faults(ours, theirs)
            else:
                yield inconsistent(
                    START,
                    "Under LoRA an adapter goes on being trained, and it has none: all of its "
                    "weights were trained. Set 'model.tuning' to full.",
                )


def _size_faults(ours: Lora, theirs: dict[str, Any]) -> Iterator[FaultAt]:
    for name in ("rank", "alpha"):
        if getattr(ours, name) != theirs[name]:
            yield inconsistent(
                ("model", "tuning", name),
                f"'model.tuning.{name}' must be {theirs[name]}, as in the checkpoint: its adapter "
                "goes on being trained.",
            )


def resolved_start(checkpoint: Checkpoint, job: Job) -> dict[str, Any]:
    """What a job records of the checkpoint that it starts from."""
    return {
        "job_id": job.id,
        "round": checkpoint.round,
        "update": checkpoint.update,
        "manifest_sha256": checkpoint.manifest_sha256,
        "trained_by": trained_by(job),
    }


def trained_by(job: Job) -> list[str]:
    """Name the jobs that trained a job's weights: itself, and those before its start."""
    return [job.id, *job.resolved["model"].get("start", {}).get("trained_by", [])]
