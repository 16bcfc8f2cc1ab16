"""How far a job is and when it may end, from what it has done since it started."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.core.models import Job, State


@dataclass(frozen=True)
class Outlook:
    """The share of steps done, and what is left in seconds where that can be told."""

    fraction: float
    seconds: float | None
    finish_at: datetime | None


def outlook(job: Job, now: datetime) -> Outlook:
    """Judge by the iterations done since the start; prompts to come cost what those so far did.

    Of given responses every epoch of a row is an iteration, and all of them are done.
    """
    epochs = job.resolved.get("method", {}).get("epochs")
    total = max(job.steps_total, 1) * (epochs or 1)
    done = job.progress.get("iterations_done" if epochs else "steps_done", 0)
    fraction = 1.0 if job.state == State.SUCCEEDED.value else min(done / total, 1.0)
    left = _seconds_left(job, total - done, now)
    return Outlook(fraction, left, None if left is None else now + timedelta(seconds=left))


def _seconds_left(job: Job, steps_left: int, now: datetime) -> float | None:
    iterations: int = job.progress.get("iterations_done", 0)
    if job.state != State.RUNNING.value or job.started_at is None or iterations < 1:
        return None
    most = job.resolved.get("method", {}).get("iterations", 1)
    a_step: float = job.progress.get("mean_iterations") or most
    elapsed = (now - job.started_at).total_seconds()
    return round(elapsed / iterations * a_step * max(steps_left, 0), 1)
