"""A campaign: jobs run undisturbed, then again while processes die; the results must be equal."""

import hashlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Engine, delete

from app.core.db import get_engine, transaction
from app.core.lease import claim
from app.core.models import JudgeQuestion
from app.core.settings import get_settings
from app.core.spec.catalogue import load_catalogue
from app.core.spec.job import JobSpec
from app.services import jobs
from cyclealign.client import Client
from cyclealign.errors import ApiError, Unreachable
from tests import factories
from tests.chaos.faults import Faults, Plan
from tests.chaos.stage import Stage
from tests.judge_server import Act, Handler, Post, after, ranks
from tests.stack.jobs import small_job
from tests.stack.running import ENDED
from worker import runner

T = TypeVar("T")

PROMPTS = 4
SECONDS_BETWEEN = (0.5, 4.0)
UNAVAILABLE = 503
KEPT = ("step", "iteration", "round", "white_box", "black_box", "presented", "outcome")


@dataclass(frozen=True)
class Campaign:
    """How many jobs, what goes wrong, and the seed of it all."""

    jobs: int
    plan: Plan
    seed: int
    limit_seconds: float
    victims: tuple[str, ...]
    hold: float


@dataclass
class Outcome:
    """What became of it; `broken` names the promises that did not hold."""

    facts: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def promise(self, name: str, value: Any, *, holds: bool) -> None:
        self.facts[name] = value
        if not holds:
            self.broken.append(name)


@dataclass
class Caller:
    """A client that asks again while the service or its database is being started anew."""

    client: Client
    odd: Counter[int] = field(default_factory=Counter)
    """Answers that are neither right nor a 503."""

    def ask(self, ask: Callable[[], T]) -> T:
        for _ in range(120):
            try:
                return ask()
            except ApiError as error:
                self.odd[error.status] += error.status != UNAVAILABLE
            except Unreachable:
                pass  # the API is not up yet
            time.sleep(0.5)
        return ask()

    def jobs(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        return [self.ask(partial(self.client.job, job)) for job in ids]


def run_campaign(stage: Stage, campaign: Campaign) -> Outcome:
    """Run the jobs in this process, then in the disturbed service, and compare."""
    draw = random.Random(campaign.seed)
    stage.judge.otherwise = _late(draw)
    engine = get_engine()
    dataset = factories.dataset(engine, PROMPTS).id
    specs = [small_job(dataset, judge="endpoint", seed=seed) for seed in range(campaign.jobs)]
    wanted = [_undisturbed(engine, spec) for spec in specs]
    engine.dispose()
    keeper = stage.open()
    faults = Faults(stage, draw, campaign.victims, campaign.hold)
    with Client(stage.url) as client:
        outcome = _disturbed(Caller(client), faults, campaign, specs, wanted)
    stage.leaving.set()
    keeper.join()
    return outcome


def _disturbed(
    caller: Caller,
    faults: Faults,
    campaign: Campaign,
    specs: Sequence[dict[str, Any]],
    wanted: Sequence[str],
) -> Outcome:
    started = time.monotonic()
    posts = len(faults.stage.judge.posts)
    create = caller.client.create_job
    ids = [
        caller.ask(partial(create, spec, key=f"seed-{number}"))["id"]
        for number, spec in enumerate(specs)
    ]
    _disturb(faults, campaign, caller, ids)
    ended = _wait(caller, ids, started + campaign.limit_seconds)
    outcome = Outcome({"faults": dict(sorted(faults.done.items()))})
    _judge_jobs(outcome, caller, ended, wanted)
    _judge_writes(outcome, faults)
    _judge_money(outcome, ended, faults.stage.judge.posts[posts:])
    odd = {status: n for status, n in caller.odd.items() if n}
    outcome.promise("odd HTTP statuses", odd, holds=not odd)
    outcome.facts["seconds"] = round(time.monotonic() - started)
    return outcome


def _judge_jobs(
    outcome: Outcome, caller: Caller, ended: Sequence[dict[str, Any]], wanted: Sequence[str]
) -> None:
    states = Counter(job["status"] for job in ended)
    outcome.promise("states", dict(states), holds=states == {"succeeded": len(ended)})
    pairs = [(job["id"], same) for job, same in zip(ended, wanted, strict=True)]
    done = {job["id"] for job in ended if job["status"] == "succeeded"}
    other = sum(one in done and _differ(caller, one, same) for one, same in pairs)
    outcome.promise("results that differ", other, holds=other == 0)
    there = len(caller.ask(lambda: list(caller.client.jobs())))
    others = there - len(ended) - len(wanted)
    outcome.promise("jobs that nobody submitted", others, holds=others == 0)
    twice = sum(_steps_twice(caller, job_id) for job_id in done)
    outcome.promise("steps recorded twice", twice, holds=twice == 0)
    outcome.facts["attempts"] = sum(job["attempt"] for job in ended)


def _differ(caller: Caller, one: str, other: str) -> bool:
    first, second = (caller.ask(partial(_result, caller.client, job)) for job in (one, other))
    return first != second


def _judge_writes(outcome: Outcome, faults: Faults) -> None:
    stale = faults.stage.noted("stale")
    outcome.promise("stale commits", stale, holds=stale == 0)
    outcome.facts["stale commits refused"] = faults.stage.noted("rejected")
    outcome.promise("orphaned runners", faults.orphans, holds=faults.orphans == 0)


def _judge_money(outcome: Outcome, ended: Sequence[dict[str, Any]], posts: Sequence[Post]) -> None:
    """A post that was in flight at a death is repeated once; its second row says so."""
    unique = {json.dumps(post.body, sort_keys=True) for post in posts}
    in_flight = sum(job["usage"].get("extra_paid", 0) for job in ended)
    extra = len(posts) - len(unique)
    outcome.facts["posts"] = len(posts)
    outcome.facts["posts in flight at a death"] = in_flight
    outcome.promise("posts paid twice", extra, holds=extra <= in_flight)


def _late(draw: random.Random) -> Act:
    """A judge that takes its time."""
    waits = [draw.uniform(0.02, 0.3) for _ in range(64)]

    def act(handler: Handler) -> None:
        after(waits[len(handler.server.posts) % len(waits)], ranks())(handler)

    return act


@dataclass(frozen=True)
class Result:
    """What a run gave: its files by name, without the card, and its rows, hashed."""

    files: dict[str, str]
    rows: str


def _undisturbed(engine: Engine, spec: dict[str, Any]) -> str:
    """Run a job in this process, and forget what its judge said."""
    catalogue = load_catalogue(get_settings().catalogue)
    with transaction(engine) as session:
        job = jobs.submit(session, "ws_default", JobSpec.model_validate(spec), catalogue)
    with transaction(engine) as session:
        lease = claim(session, owner="undisturbed", ttl_seconds=600)
    assert lease is not None
    assert (lease.job_id, runner.work(lease, threading.Event())) == (job.id, 0)
    with transaction(engine) as session:
        session.execute(delete(JudgeQuestion))
    return job.id


def _result(client: Client, job_id: str) -> Result:
    rows = [
        [row[name] for name in KEPT] + [response["text"] for response in row["responses"]]
        for row in client.rankings(job_id)
    ]
    hashed = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    checkpoint = client.job(job_id)["result"]["checkpoint_id"]
    manifest = client.checkpoint(checkpoint)["manifest"]
    files = {one["name"]: one["sha256"] for one in manifest["files"] if one["role"] != "card"}
    return Result(files, hashed)


def _steps_twice(caller: Caller, job_id: str) -> int:
    places = caller.ask(partial(_places, caller.client, job_id))
    return sum(count - 1 for count in places.values())


def _places(client: Client, job_id: str) -> Counter[tuple[int, int]]:
    rows = client.rankings(job_id, stage="align")
    return Counter((row["step"], row["iteration"]) for row in rows)


def _disturb(faults: Faults, campaign: Campaign, caller: Caller, ids: Sequence[str]) -> None:
    for fault in campaign.plan.shuffled(faults.draw):
        time.sleep(faults.draw.uniform(*SECONDS_BETWEEN))
        if all(job["status"] in ENDED for job in caller.jobs(ids)):
            break
        faults.cause(fault)
    faults.settle()


def _wait(caller: Caller, ids: Sequence[str], until: float) -> list[dict[str, Any]]:
    found = caller.jobs(ids)
    while time.monotonic() < until and any(job["status"] not in ENDED for job in found):
        time.sleep(1)
        found = caller.jobs(ids)
    return found
