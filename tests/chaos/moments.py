"""Random moments of a running job, so that what is done to it meets every part of its life."""

import random
import time
from dataclasses import dataclass

from sqlalchemy import select, text

from app.core.models import Job, State
from tests.chaos.deployment import Deployment

MOMENTS = ("starting", "loading", "sampling", "judging", "learning", "saving")
"""The phases of a job, before them a runner that has not said a word, and its saves."""
EARLY = ("starting", "loading")
LONGEST = {"starting": 4.0, "loading": 0.3}
"""About how many seconds some moments last; the others are over in an instant."""
INSTANT = 0.05
SEVERAL = 2
LOOK_SECONDS = 0.005
COMING_SECONDS = 120

_UNSEEN = text(
    "SELECT count(*) FROM (SELECT DISTINCT split_part(key, '/', 1) AS id FROM artifact_chunks)"
    " AS stored WHERE id NOT IN (SELECT id FROM checkpoints)"
)


@dataclass(frozen=True)
class Seen:
    """What a job does: a moment, or its state if it does not run; and the judge's open posts."""

    what: str
    posts: int
    attempt: int
    round: int
    runs: bool

    def is_at(self, moment: str, rounds: int) -> bool:
        """Whether it is that moment after so many rounds; judging wants several open posts."""
        several = moment != "judging" or self.posts >= SEVERAL
        return self.what == moment and self.round >= rounds and several


def look(deployment: Deployment, job_id: str, unseen: int = 0) -> Seen:
    """See what a job does; `unseen` are stored checkpoints that nobody can see, from before."""
    query = select(Job.state, Job.phase, Job.attempt, Job.round).where(Job.id == job_id)
    with deployment.engine.connect() as connection:
        state, phase, attempt, round_ = connection.execute(query).one()
        saving = connection.execute(_UNSEEN).scalar_one() > unseen
    runs = state in {State.QUEUED, State.RUNNING}
    what = ("saving" if saving else phase or "starting") if state == State.RUNNING else state
    return Seen(what, deployment.judge.in_flight, attempt, round_, runs)


def await_moment(
    deployment: Deployment, job_id: str, moment: str, draw: random.Random, rounds: int = 0
) -> Seen | None:
    """Wait for a moment of a job and a random part of its length; None if the job ended first.

    So many more `rounds` must have ended before it, unless it lies before all of an attempt.
    """
    rounds = 0 if moment in EARLY else look(deployment, job_id).round + rounds
    with deployment.engine.connect() as connection:
        unseen = connection.execute(_UNSEEN).scalar_one()
    until = time.monotonic() + COMING_SECONDS
    while not (seen := look(deployment, job_id, unseen)).is_at(moment, rounds):
        if not seen.runs:
            return None
        assert time.monotonic() < until, f"{job_id} hangs: {seen}"
        time.sleep(LOOK_SECONDS)
    time.sleep(draw.uniform(0, LONGEST.get(moment, INSTANT)))
    seen = look(deployment, job_id, unseen)
    return seen if seen.runs else None
