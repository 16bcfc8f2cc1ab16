"""Cancelling at random moments: `python -m tests.chaos.cancel --times 40 --seed 1`.

A queued job is cancelled at once; of a running one nothing is left soon after, but for the
checkpoints that were there before.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cyclealign.client import Client
from cyclealign.errors import ApiError, Corrupt
from tests.chaos.deployment import Deployment, deployed
from tests.chaos.moments import MOMENTS, await_moment
from tests.chaos.promises import Promise, at_most, none_of, show
from tests.stack.jobs import small_job, upload_prompts
from tests.stack.running import ENDED

PROMPTS = [f"Tell me something about the number {n}." for n in range(8)]
ROUNDS = 4
"""A job has at least as many."""
QUEUED_SECONDS = 1
RUNNING_SECONDS = 15
LOOK_SECONDS = 0.02
LONG = 60
REFUSED = 409


@dataclass(frozen=True)
class Cancelled:
    """One running job that was cancelled."""

    moment: str
    posts: int
    seconds: float
    """From the request until the job is `cancelled` and its runner's process group is gone."""
    status: str
    lost: list[str]
    """Checkpoints that were visible before and are not whole now."""


@dataclass
class Found:
    """What the requests did."""

    queued: list[float] = field(default_factory=list)
    running: list[Cancelled] = field(default_factory=list)
    finished_first: int = 0
    checkpoints: int = 0
    """Visible when a job was cancelled, over all jobs."""
    left: int = 0
    """Runners that were still there at the end."""


def cancel_often(deployment: Deployment, times: int, draw: random.Random) -> Found:
    """Cancel so many running jobs, each at a random moment, and a queued one behind each."""
    found = Found()
    dataset = upload_prompts(deployment.client, deployment.folder, PROMPTS)
    while len(found.running) + found.finished_first < times:
        spec = _job(dataset, draw.randrange(1 << 30))
        job_id = deployment.client.create_job(spec)["id"]
        found.queued.append(_cancel_behind(deployment, job_id, spec, draw))
        _cancel_running(deployment, job_id, draw, found)
    found.left = len(deployment.runners())
    return found


def promises(found: Found) -> list[Promise]:
    """Hold what was found against what cancelling promises."""
    running = found.running
    met = Counter(one.moment for one in running)
    flying = [one.posts for one in running]
    return [
        Promise("running jobs cancelled", f"{len(running)}; {dict(met)}"),
        Promise("posts in flight then", f"{sum(flying)}, at most {max(flying, default=0)}"),
        Promise("finished before the request", str(found.finished_first)),
        at_most("queued to cancelled, seconds", QUEUED_SECONDS, found.queued),
        at_most("running to nothing left, seconds", RUNNING_SECONDS, [x.seconds for x in running]),
        none_of("not cancelled", [x.status for x in running if x.status != "cancelled"]),
        Promise("runners left", str(found.left), kept=found.left == 0),
        Promise("checkpoints visible before", str(found.checkpoints)),
        none_of("of them lost", [lost for one in running for lost in one.lost]),
    ]


def _job(dataset: str, seed: int) -> dict[str, Any]:
    """A job that keeps every round."""
    return small_job(
        dataset,
        judge="endpoint",
        orders=2,
        checkpoints={"every_rounds": 1, "keep": 1000},
        seed=seed,
    )


def _cancel_behind(
    deployment: Deployment, job_id: str, spec: dict[str, Any], draw: random.Random
) -> float:
    """Cancel a job that waits behind one that runs; return after how many seconds it was."""
    client = deployment.client
    await_moment(deployment, job_id, "starting", random.Random(0))
    waiting = client.create_job(spec)["id"]
    time.sleep(draw.uniform(0, 0.5))
    asked = time.monotonic()
    client.cancel(waiting)
    return _ended_after(client, waiting, asked)


def _cancel_running(deployment: Deployment, job_id: str, draw: random.Random, found: Found) -> None:
    client = deployment.client
    seen = await_moment(deployment, job_id, draw.choice(MOMENTS), draw, draw.randrange(ROUNDS))
    runners = [process.pid for process in deployment.runners()]
    kept = [one["id"] for one in client.checkpoints(job_id)]
    asked = time.monotonic()
    if seen is None or not _cancelled(client, job_id):
        found.finished_first += 1
        return
    ended = _ended_after(client, job_id, asked)
    gone = max([_gone_after(runner, asked) for runner in runners], default=0.0)
    lost = [one for one in kept if not _is_whole(deployment, one)]
    found.checkpoints += len(kept)
    status = str(client.job(job_id)["status"])
    found.running.append(Cancelled(seen.what, seen.posts, max(ended, gone), status, lost))


def _cancelled(client: Client, job_id: str) -> bool:
    """Ask for it; False if the job has finished."""
    try:
        client.cancel(job_id)
    except ApiError as error:
        if error.status != REFUSED:
            raise
        return False
    return True


def _ended_after(client: Client, job_id: str, asked: float) -> float:
    while client.job(job_id)["status"] not in ENDED and time.monotonic() < asked + LONG:
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - asked


def _gone_after(group: int, asked: float) -> float:
    while _is_there(group) and time.monotonic() < asked + LONG:
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - asked


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _is_whole(deployment: Deployment, checkpoint_id: str) -> bool:
    """Whether all that users can download of it is as its manifest says."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return bool(deployment.client.download_files(checkpoint_id, Path(folder)))
        except (ApiError, Corrupt):
            return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Cancel; return 1 if a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.cancel", description=__doc__)
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ca-") as folder, deployed(Path(folder)) as deployment:
        return show(promises(cancel_often(deployment, asked.times, random.Random(asked.seed))))


if __name__ == "__main__":
    sys.exit(main())
