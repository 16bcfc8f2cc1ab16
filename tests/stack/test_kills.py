"""`kill -9` at random moments of worker and runner: no job is lost, no step recorded twice."""

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from cyclealign.client import Client
from tests.stack.jobs import PROMPTS, small_job, upload_prompts
from tests.stack.running import ENDED, running, wait_for, write_catalogue

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

KILLS = 20
JOBS = 6
VICTIMS = ("worker.runner", "worker.main")


def victims(root: int) -> list[psutil.Process]:
    """List the processes of worker and runner below the stack."""
    found = []
    for process in psutil.Process(root).children(recursive=True):
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if any(name in line for name in VICTIMS):
            found.append(process)
    return found


def kill_one(root: int, draw: random.Random) -> str | None:
    """Kill a random victim; runners are as likely as all of the worker's processes together."""
    alive = victims(root)
    runners = [p for p in alive if "worker.runner" in " ".join(p.cmdline())]
    choice = draw.choice(runners if runners and draw.random() < 0.5 else alive or [None])
    if choice is None:
        return None
    choice.kill()
    return "runner" if choice in runners else "worker"


def told(client: Client, job_id: str) -> list[dict[str, Any]]:
    """Return what a run recorded, without times."""
    keep = ("step", "iteration", "round", "white_box", "black_box", "presented", "outcome")
    rows = []
    for row in client.rankings(job_id, stage="align"):
        texts = [response["text"] for response in row["responses"]]
        rows.append({name: row[name] for name in keep} | {"texts": texts})
    return rows


def test_twenty_kills_over_six_jobs_lose_nothing(tiny_model: Path, tmp_path: Path) -> None:
    draw = random.Random(20)
    settings = {"MAX_STALLS": "1000", "MAX_FAILURES": "1000"}
    catalogue = write_catalogue(tmp_path, tiny_model)
    with running(tmp_path, catalogue, settings) as stack, stack.client() as client:
        dataset = upload_prompts(client, tmp_path, PROMPTS)
        undisturbed = wait_for(client, client.create_job(small_job(dataset, seed=1))["id"])
        jobs = [client.create_job(small_job(dataset, seed=1))["id"] for _ in range(JOBS)]
        killed = kill_until_done(client, stack.process.pid, jobs, draw)
        ended = [wait_for(client, job) for job in jobs]
        assert [job["status"] for job in ended] == ["succeeded"] * JOBS
        assert killed.total() >= KILLS
        assert set(killed) == {"runner", "worker"}
        assert sum(job["attempt"] for job in ended) > JOBS
        for job in ended:
            assert told(client, job["id"]) == told(client, undisturbed["id"])
            check_steps(client, job["id"])


def kill_until_done(
    client: Client, root: int, jobs: list[str], draw: random.Random
) -> Counter[str]:
    """Kill until enough is killed or nothing is left to disturb."""
    killed: Counter[str] = Counter()
    while killed.total() < KILLS:
        time.sleep(draw.uniform(0.5, 5.0))
        if all(client.job(job)["status"] in ENDED for job in jobs):
            break
        if (victim := kill_one(root, draw)) is not None:
            killed[victim] += 1
    return killed


def check_steps(client: Client, job_id: str) -> None:
    """Every step ended once in what is kept: iterations run from 0 without a gap."""
    places = [(row["step"], row["iteration"]) for row in client.rankings(job_id, stage="align")]
    assert len(places) == len(set(places))
    last = {step: max(i for s, i in places if s == step) for step, _ in places}
    assert len(places) == sum(iteration + 1 for iteration in last.values())
    assert set(last) == set(range(len(PROMPTS)))
