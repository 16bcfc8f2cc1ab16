"""A job's progress for a person: a bar on a terminal, plain lines anywhere else."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

Json = dict[str, Any]
WAITING = "waiting for the worker"
QUIET_SECONDS = 10


@dataclass(frozen=True)
class View:
    """What is worth saying of a running job: its part, how far that is, and the details."""

    part: str
    done: int
    total: int
    details: str


def view_of(job: Json) -> View:
    """Read a job: held-out prompts are scored, then prompts are trained on, then scored again."""
    part, done, total = _part(job)
    return View(part, done, total, _details(job))


def show(console: Console, jobs: Iterable[Json]) -> Json:
    """Show a job as it goes on, until it ends; returns it as it was last."""
    return _live(console, jobs) if console.is_terminal else _lines(console, jobs)


def ending_of(job: Json) -> str:
    """Say in a sentence how a job ended, and with which checkpoint."""
    error, result = job.get("error") or {}, job.get("result") or {}
    more = error.get("detail") or error.get("code") or result.get("checkpoint_id")
    return f"{job['id']} {job['status']}" + (f": {more}" if more else ".")


def _part(job: Json) -> tuple[str, int, int]:
    progress, total = job["progress"], job["progress"]["steps_total"]
    if job.get("kind") == "experiment":
        return "experimenting", progress["steps_done"], total
    if job["status"] == "queued":
        return WAITING, progress["steps_done"], total
    if job.get("kind") == "evaluation":
        return "evaluating", progress["steps_done"], total
    held_out = (job["resolved"].get("held_out") or {}).get("rows", 0)
    scored = progress.get("held_out") or {}
    before = scored.get("before", {}).get("prompts", 0)
    if before < held_out and not progress.get("iterations_done"):
        return "scoring held-out prompts before", before, held_out
    if progress["steps_done"] < total or not held_out:
        return "aligning", progress["steps_done"], total
    return "scoring held-out prompts after", scored.get("after", {}).get("prompts", 0), held_out


def _details(job: Json) -> str:
    progress = job["progress"]
    said = [job.get("phase") or job["status"]]
    if progress.get("iteration") is not None:
        said.append(f"prompt {progress['step'] + 1}")
        said.append(f"iteration {progress['iteration'] + 1}/{progress.get('iterations_max')}")
    if progress.get("agreement_mean") is not None:
        said.append(f"agreement {progress['agreement_mean']:.2f}")
    if job.get("eta_seconds"):
        said.append(f"about {clock(job['eta_seconds'])} left")
    return ", ".join(said)


def clock(seconds: float) -> str:
    """Write seconds as minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _live(console: Console, jobs: Iterable[Json]) -> Json:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[details]}"),
    )
    last: Json = {}
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=None, details="")
        for last in jobs:
            _advance(progress, bar, view_of(last))
    return last


def _advance(progress: Progress, bar: TaskID, view: View) -> None:
    progress.update(
        bar,
        description=view.part,
        completed=view.done,
        total=view.total,
        details=view.details,
    )


def _lines(console: Console, jobs: Iterable[Json]) -> Json:
    """Print a line for every prompt that is done, and now and then one for what changed besides."""
    last: Json = {}
    said, quiet_since = View("", 0, 0, ""), 0.0
    for last in jobs:
        view, now = view_of(last), time.monotonic()
        moved = (view.part, view.done) != (said.part, said.done)
        if moved or (view != said and now - quiet_since > QUIET_SECONDS):
            console.out(f"{view.part} {view.done}/{view.total}: {view.details}", highlight=False)
            said, quiet_since = view, now
    return last
