"""Many jobs in a row through one worker: `python -m tests.chaos.soak --jobs 50`; nothing grows."""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from itertools import groupby
from pathlib import Path
from statistics import linear_regression

import psutil
from sqlalchemy import text

from tests.chaos.deployment import Deployment, deployed
from tests.chaos.promises import Promise, show
from tests.stack.jobs import PROMPTS, small_job, upload_prompts
from tests.stack.running import wait_for

WARM = 5
"""Jobs after which a process has all that it will ever need."""
MOST_GROWTH = {"main_mb": 20.0, "pool_mb": 20.0, "main_files": 0, "pool_files": 0, "connections": 0}
LOOKS = 5
LOOK_SECONDS = 0.15
MB = 1e6
LEAST_POINTS = 2

_CONNECTIONS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND backend_type = 'client backend' AND pid != pg_backend_pid()"
)


@dataclass(frozen=True)
class Size:
    """What a worker at rest takes: its main process, the pool's process, and the database's."""

    main_mb: float
    pool_mb: float
    main_files: float
    pool_files: float
    connections: float


@dataclass
class Found:
    """The sizes after each job, how the jobs ended, and which process of the pool it was."""

    sizes: list[Size]
    statuses: list[str]
    pools: list[int]


def soak(deployment: Deployment, jobs: int) -> Found:
    """Run so many jobs, one after the other, and measure after each."""
    found = Found([], [], [])
    dataset = upload_prompts(deployment.client, deployment.folder, PROMPTS[:1])
    for seed in range(jobs):
        spec = small_job(dataset, method={"iterations": 1}, seed=seed)
        job_id = deployment.client.create_job(spec)["id"]
        found.statuses.append(wait_for(deployment.client, job_id)["status"])
        pool, size = at_rest(deployment)
        found.pools.append(pool)
        found.sizes.append(size)
    return found


def at_rest(deployment: Deployment) -> tuple[int, Size]:
    """Measure once the runner is gone; return the pool's process as well.

    It is the least of a few looks, since polling comes and goes, all at one process of the pool.
    """
    while deployment.runners():
        time.sleep(LOOK_SECONDS)
    looks: list[tuple[int, Size]] = []
    while len(looks) < LOOKS:
        time.sleep(LOOK_SECONDS)
        look = _measure(deployment)
        alike = [one for one in looks if look is not None and one[0] == look[0]]
        looks = [] if look is None else [*alike, look]
    every = zip(*(astuple(size) for _, size in looks), strict=True)
    return looks[0][0], Size(*map(min, every))


def promises(found: Found, warm: int = WARM) -> list[Promise]:
    """Hold the growth after the first jobs against what is allowed.

    Each process of the pool is compared with itself: one that follows another is forked with a
    connection that the main process has opened since, for its heartbeat.
    """
    sizes = list(zip(found.pools, found.sizes, strict=True))[warm - 1 :]
    ended = [status for status in found.statuses if status == "succeeded"]
    return [
        Promise("jobs that succeeded", str(len(ended)), kept=ended == found.statuses),
        Promise("pool processes, one after the other", str(len({*found.pools}))),
        *(_flat(field.name, sizes) for field in fields(Size)),
    ]


def _flat(name: str, sizes: Sequence[tuple[int, Size]]) -> Promise:
    """Nothing after the first size of a process is larger by more than what is allowed."""
    series = [float(getattr(size, name)) for _, size in sizes]
    if len(series) < LEAST_POINTS:
        return Promise(name, "nothing was measured", kept=False)
    one_process = groupby(sizes, key=lambda size: size[0] if name.startswith("pool") else 0)
    lives = [[float(getattr(size, name)) for _, size in life] for _, life in one_process]
    growth, bound = max(max(life) - life[0] for life in lives), MOST_GROWTH[name]
    slope = linear_regression(range(len(series)), series).slope
    told = f"{series[0]:.1f} to {series[-1]:.1f}, most {max(series):.1f}, {slope:+.3f} a job"
    return Promise(name, f"{told}  (may grow by {bound:g})", growth <= bound)


def _measure(deployment: Deployment) -> tuple[int, Size] | None:
    """Look at the worker; None while one process of the pool takes another's place."""
    assert deployment.worker.process is not None
    main = psutil.Process(deployment.worker.process.pid)
    try:
        [pool] = main.children()
        pool_mb, pool_files = pool.memory_info().rss / MB, pool.num_fds()
    except (ValueError, psutil.Error):
        return None
    with deployment.engine.connect() as connection:
        connections = connection.execute(_CONNECTIONS).scalar_one()
    return pool.pid, Size(
        main.memory_info().rss / MB, pool_mb, main.num_fds(), pool_files, connections
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the jobs; return 1 if something grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--jobs", type=int, default=50)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ca-") as folder, deployed(Path(folder)) as deployment:
        return show(promises(soak(deployment, asked.jobs)))


if __name__ == "__main__":
    sys.exit(main())
