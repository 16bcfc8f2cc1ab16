"""Deploys at random moments of running jobs: `python -m tests.chaos.drain --times 50 --seed 1`.

The worker gets SIGTERM and its successor is started at once. A job is then handed back, or has
ended; no round of it is redone, no step is taken twice and no judge call is paid twice. Nothing may
be rewound at all: a drained round is kept, and before the first one there is nothing to undo. The
weights are those of a twin that nobody disturbed, which finds every answer in the ledger.

`--drain-seconds 0.01` leaves no time to keep a round: the same checks must then fail.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from app.core.children import Child
from app.core.models import Attempt, Job
from app.core.settings import Settings
from tests.chaos.deployment import Deployment, deployed
from tests.chaos.moments import MOMENTS, Seen, await_moment
from tests.chaos.promises import Promise, at_most, none_of, show
from tests.stack.jobs import small_job, upload_prompts
from tests.stack.running import wait_for

PROMPTS = [f"Tell me something about the number {n}." for n in range(8)]
ROUNDS = 3
"""An attempt gets fewer rounds than that before it is drained, unless its save is waited for."""
BACK_SECONDS = 60
LEFT_SECONDS = 120
HARMLESS = {"given_back", "succeeded"}


@dataclass(frozen=True)
class Drain:
    """One deploy: what the job did when SIGTERM came, and what became of its attempt."""

    seen: Seen
    back_seconds: float
    """From SIGTERM to the attempt's end."""
    gone_seconds: float
    """From SIGTERM to the end of the worker's process."""
    outcome: str
    counted: int
    """Failures and stalls of the job after it."""


@dataclass(frozen=True)
class Run:
    """A job that was drained, and its twin that was not."""

    status: str
    events: list[dict[str, Any]]
    weights: dict[str, str]
    twin_weights: dict[str, str]
    twin_posts: int

    def twice(self, kind: str, name: str) -> list[int]:
        """The steps or rounds that the log tells of more than once."""
        told = Counter(one["data"][name] for one in self.events if one["type"] == kind)
        return [number for number, times in told.items() if times > 1]

    @property
    def untold(self) -> set[int]:
        """The steps that the log does not tell of."""
        return set(range(len(PROMPTS))) - {
            one["data"]["step"] for one in self.events if one["type"] == "step"
        }


@dataclass
class Found:
    """What the deploys did."""

    drains: list[Drain] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    posts: int = 0
    questions: int = 0
    """Different bodies among the posts that reached the judge."""


def drain_often(deployment: Deployment, times: int, draw: random.Random) -> Found:
    """Deploy so many times, at random moments of one job after another."""
    found, before = Found(), len(deployment.judge.posts)
    dataset = upload_prompts(deployment.client, deployment.folder, PROMPTS)
    while len(found.drains) < times:
        spec = _job(dataset, seed=1 + len(found.runs))
        job_id = deployment.client.create_job(spec)["id"]
        while len(found.drains) < times:
            drain = _drain(deployment, job_id, draw)
            if drain is None:
                break
            found.drains.append(drain)
        found.runs.append(_compared(deployment, job_id, spec))
    bodies = [json.dumps(post.body, sort_keys=True) for post in deployment.judge.posts[before:]]
    found.posts, found.questions = len(bodies), len(set(bodies))
    return found


def promises(found: Found) -> list[Promise]:
    """Hold what was found against what a deploy may cost."""
    drains, runs = found.drains, found.runs
    met = Counter(drain.seen.what for drain in drains)
    flying = [drain.seen.posts for drain in drains]
    return [
        Promise("deploys", f"{len(drains)} in {len(runs)} jobs; {dict(met)}"),
        Promise("posts in flight at SIGTERM", f"{sum(flying)}, at most {max(flying, default=0)}"),
        at_most("handed back, seconds", BACK_SECONDS, [one.back_seconds for one in drains]),
        at_most("worker gone, seconds", LEFT_SECONDS, [one.gone_seconds for one in drains]),
        Promise("outcomes", str(dict(Counter(one.outcome for one in drains)))),
        none_of("attempts not handed back", [x for x in drains if x.outcome not in HARMLESS]),
        none_of("failures or stalls counted", [x for x in drains if x.counted]),
        none_of("jobs that did not succeed", [x.status for x in runs if x.status != "succeeded"]),
        none_of("posts paid twice", range(found.posts - found.questions)),
        none_of("posts of undisturbed twins", range(sum(run.twin_posts for run in runs))),
        none_of("steps told twice", [n for run in runs for n in run.twice("step", "step")]),
        none_of("steps missing", [n for run in runs for n in run.untold]),
        none_of("rounds told twice", [n for run in runs for n in run.twice("round", "round")]),
        none_of(
            "rounds undone",
            [one["message"] for run in runs for one in run.events if one["type"] == "rewound"],
        ),
        none_of(
            "weights other than undisturbed",
            [run.weights for run in runs if not run.weights or run.weights != run.twin_weights],
        ),
        Promise("posts to the judge", str(found.posts), kept=found.posts > 0),
    ]


def _job(dataset: str, seed: int) -> dict[str, Any]:
    """A job of about eight rounds, which only deploys and its end keep."""
    return small_job(
        dataset,
        judge="endpoint",
        orders=2,
        checkpoints={"every_rounds": 1000, "keep": 2},
        seed=seed,
    )


def _drain(deployment: Deployment, job_id: str, draw: random.Random) -> Drain | None:
    """Deploy at a random moment of the job; None if it ended before that came."""
    seen = await_moment(deployment, job_id, draw.choice(MOMENTS), draw, draw.randrange(ROUNDS))
    if seen is None:
        return None
    asked = time.time()
    leaving = deployment.replace_worker()
    gone = _gone_after(leaving, asked)
    with deployment.engine.connect() as connection:
        attempt = select(Attempt.ended_at, Attempt.outcome).where(
            Attempt.job_id == job_id, Attempt.attempt == seen.attempt
        )
        ended_at, outcome = connection.execute(attempt).one()
        counted = select(Job.failures + Job.stalls).where(Job.id == job_id)
        back = ended_at.timestamp() - asked if ended_at else LEFT_SECONDS
        return Drain(seen, back, gone, outcome or "open", connection.execute(counted).scalar_one())


def _gone_after(leaving: Child, asked: float) -> float:
    """Wait for the worker's end; return after how many seconds it came."""
    assert leaving.process is not None
    leaving.process.wait(LEFT_SECONDS)
    return time.time() - asked


def _compared(deployment: Deployment, job_id: str, spec: dict[str, Any]) -> Run:
    """See the job to its end, then run its undisturbed twin."""
    client = deployment.client
    job = wait_for(client, job_id)
    posts = len(deployment.judge.posts)
    twin = wait_for(client, client.create_job(spec)["id"])
    return Run(
        job["status"],
        list(client.events(job_id)),
        _weights(deployment, job),
        _weights(deployment, twin),
        len(deployment.judge.posts) - posts,
    )


def _weights(deployment: Deployment, job: dict[str, Any]) -> dict[str, str]:
    """The sha256 of each file of weights in a job's result."""
    if job["status"] != "succeeded":
        return {}
    manifest = deployment.client.checkpoint(job["result"]["checkpoint_id"])["manifest"]
    return {file["name"]: file["sha256"] for file in manifest["files"] if file["role"] == "weights"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the deploys; return 1 if a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.drain", description=__doc__)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    default = Settings.model_fields["drain_seconds"].default
    parser.add_argument("--drain-seconds", type=float, default=default)
    asked = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="ca-") as folder,
        deployed(Path(folder), DRAIN_SECONDS=str(asked.drain_seconds)) as deployment,
    ):
        return show(promises(drain_often(deployment, asked.times, random.Random(asked.seed))))


if __name__ == "__main__":
    sys.exit(main())
