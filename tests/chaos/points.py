"""A kill at each kind of point of a job: `python -m tests.chaos.points --lanes 1 8`.

Every job is killed once (while it resumes: twice), goes on in another process, and must leave what
an unbroken one does, bit for bit. No question is posted again but those in flight at the kill.
"""

import argparse
import os
import random
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import get_args

from sqlalchemy import NullPool, create_engine

from app.core.embedded import embedded_postgres
from app.core.migrations import migrate
from tests.chaos.bench import JUDGES, WAITING, Bench, bench_of
from tests.chaos.killed import Ablation, Point
from tests.chaos.told import told
from tests.conftest import on_server

ASKED = "judge begin, after"


@dataclass(frozen=True)
class Unbroken:
    """What a job does that nobody kills."""

    points: list[Point]
    """In the order in which it passed them, and after them those of resuming."""
    told: dict[str, str]
    posts: int
    late: Point
    """A point with most of the work and some checkpoints behind it."""


@dataclass(frozen=True)
class Outcome:
    """What a kill did: what is different at the end, and the posts that it cost."""

    point: Point
    differs: list[str]
    in_flight: int
    extra: int

    @property
    def equal(self) -> bool:
        return not self.differs and self.extra <= self.in_flight

    def __str__(self) -> str:
        place = f"{self.point.kind:32} {self.point.phase:16} {self.point.nth:3}"
        what = "equal" if not self.differs else "DIFFERS: " + ", ".join(self.differs)
        return f"{place}  {what}, extra posts {self.extra} of at most {self.in_flight}"


def run_unbroken(bench: Bench) -> Unbroken:
    """Run one job whole, and one that is killed late, to learn all points."""
    before = len(bench.judge.posts)
    job_id = bench.submit()
    passed = bench.run()
    assert passed
    posts, left = len(bench.judge.posts) - before, told(bench.engine, job_id)
    late = [point for point in passed if point.kind == "Iterated, after"][-1]
    bench.submit()
    assert bench.run(late) is None
    bench.take_back(None)
    again = bench.run()
    assert again
    resuming = [point for point in again if point.phase == "resuming"]
    return Unbroken([*passed, *_waiting(passed)[:posts], *resuming], left, posts, late)


def _waiting(passed: Iterable[Point]) -> list[Point]:
    """As many as arrive over HTTP; the judge counts them over all phases."""
    asked = [point for point in passed if point.kind == ASKED]
    return [Point(WAITING, point.phase, nth) for nth, point in enumerate(asked, 1)]


def choose(points: Iterable[Point], every: int, seed: int) -> list[Point]:
    """One point of each kind in each phase, at random; of these every `every`-th."""
    draw = random.Random(seed)
    alike = groupby(sorted(points), key=lambda point: point.place)
    return [draw.choice(list(some)) for _, some in alike][::every]


def break_at(
    bench: Bench, unbroken: Unbroken, point: Point, ablate: Ablation | None = None
) -> Outcome:
    """Kill a job at a point, let it go on, and compare."""
    before, in_flight = len(bench.judge.posts), 0
    job_id = bench.submit()
    kills = [unbroken.late, point] if point.phase == "resuming" else [point]
    for kill in kills:
        if bench.run(kill, ablate) is not None:
            raise RuntimeError(f"the attempt did not come by {kill}")
        in_flight += bench.take_back(ablate)
    if bench.state(job_id) != "succeeded":
        bench.run(ablate=ablate)
    left = told(bench.engine, job_id)
    differs = [name for name, sha256 in unbroken.told.items() if left[name] != sha256]
    extra = len(bench.judge.posts) - before - unbroken.posts
    return Outcome(point, differs, in_flight, extra)


def summary(outcomes: list[Outcome]) -> str:
    """One line on them all."""
    equal = sum(one.equal for one in outcomes)
    extra, most = sum(one.extra for one in outcomes), sum(one.in_flight for one in outcomes)
    return f"points {len(outcomes)}, equal {equal}, extra posts {extra} of at most {most} in flight"


def break_all(lanes: int, database: str, folder: Path, given: argparse.Namespace) -> list[Outcome]:
    """Break jobs of either judge, one at each kind of point, and tell of each."""
    outcomes: list[Outcome] = []
    known: set[tuple[str, str]] = set()
    for judge in JUDGES:
        with bench_of(lanes, judge, database, folder) as bench:
            unbroken = run_unbroken(bench)
            fresh = [point for point in unbroken.points if point.place not in known]
            known |= {point.place for point in fresh}
            for point in choose(fresh, given.every, given.seed):
                outcomes.append(break_at(bench, unbroken, point, given.ablate))
                sys.stdout.write(f"{outcomes[-1]}\n")
                sys.stdout.flush()
    sys.stdout.write(f"lanes {lanes}: {summary(outcomes)}\n")
    return outcomes


def main() -> int:
    """Break jobs, and return 1 if one ended otherwise than the unbroken one."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.points", description=__doc__)
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="take every N-th kind of point"
    )
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 8], help="concurrency")
    parser.add_argument("--seed", type=int, default=1, help="which point of each kind")
    parser.add_argument("--ablate", choices=get_args(Ablation), help="spoil it, which must be seen")
    given = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    with tempfile.TemporaryDirectory() as name, embedded_postgres(Path(name) / "pg") as server:
        on_server(server.url, "ALTER SYSTEM SET fsync = off")  # nobody kills the server
        on_server(server.url, "SELECT pg_reload_conf()")
        migrate(create_engine(server.url, poolclass=NullPool))
        found = [break_all(lanes, server.url, Path(name), given) for lanes in given.lanes]
    return int(not all(one.equal for outcomes in found for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
