"""What becomes of a job's checkpoints: the best one is marked, and so is one that is corrupt.

A checkpoint's score is a mean over the rounds that led to it, of the first of MEASURES that the
run records. So it tells of the models just before it, which is the nearest that training measures.
"""

from collections.abc import Sequence
from math import fsum
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.models import Checkpoint, Job, Metric, log_event

MEASURES = {
    "judge/score": 1,
    "agreement/share": 1,
    "ranking/accuracy": 1,
    "loss/total": -1,
}
"""Metrics from the most to the least telling, and whether more of it is better or worse."""


def score_now(session: Session, job: Job) -> dict[str, Any] | None:
    """Return the score of the checkpoint that a job takes now; None if nothing was measured."""
    before = select(func.max(Checkpoint.round)).where(
        Checkpoint.job_id == job.id, Checkpoint.state == "ready"
    )
    since = session.scalar(before)
    for name in MEASURES:
        query = select(Metric.value).where(
            Metric.job_id == job.id,
            Metric.name == name,
            Metric.round > (-1 if since is None else since),
        )
        values = [value for value in session.scalars(query) if value is not None]
        if values:
            # Summed exactly, so that it is the same in whatever order the rows lie.
            return {"name": name, "mean": fsum(values) / len(values), "n": len(values)}
    return None


def mark_best(session: Session, job: Job) -> None:
    """Mark the best of the checkpoints that are there, and no other one."""
    session.flush()
    rows = session.scalars(select(Checkpoint).where(Checkpoint.job_id == job.id)).all()
    best = best_of([row for row in rows if row.state == "ready"])
    for row in rows:
        row.best = row is best
    session.flush()


def best_of(checkpoints: Sequence[Checkpoint]) -> Checkpoint | None:
    """Return the one with the best score of the most telling kind, the later one of equals."""
    for name, sign in MEASURES.items():
        scored = [
            ((sign * row.metrics["score"]["mean"], row.round), row)
            for row in checkpoints
            if (row.metrics.get("score") or {}).get("name") == name
        ]
        if scored:
            return max(scored, key=lambda pair: pair[0])[1]
    return None


def mark_corrupt(session: Session, checkpoint_id: str) -> None:
    """Mark a checkpoint whose bytes are not its manifest's: nobody is given it any more.

    Nothing is done for one that was marked before, or deleted meanwhile with its bytes.
    """
    owner = select(Job).join(Checkpoint, Checkpoint.job_id == Job.id)
    locked = owner.where(Checkpoint.id == checkpoint_id).with_for_update(key_share=True, of=Job)
    job = session.scalars(locked).one_or_none()
    checkpoint = session.get(Checkpoint, checkpoint_id, populate_existing=True)
    if job is None or checkpoint is None or checkpoint.state == "corrupt":
        return
    checkpoint.state = "corrupt"
    message = (
        f"Checkpoint {checkpoint.id} of round {checkpoint.round} does not hold the bytes of its "
        "manifest; it is used no more."
    )
    facts = {"checkpoint_id": checkpoint.id, "round": checkpoint.round}
    session.add(log_event(job, "checkpoint_corrupt", message, level="error", **facts))
    mark_best(session, job)
