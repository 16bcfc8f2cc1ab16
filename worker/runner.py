"""The runner: one job in a process of its own (`python -m worker.runner`).

The supervisor writes the lease as one JSON line to standard input. The exit code says how it
ended: 0 the job is settled, 10 stopped because asked, 12 fenced, 20 failed but worth a retry,
21 failed for good; for 20 and 21 the last line of standard output is `{"code", "detail"}`.
"""

import itertools
import json
import os
import signal
import sys
import tempfile
import threading
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from app.core.db import get_engine
from app.core.lease import Lease
from app.core.logging import setup_logging
from app.core.models import EVALUATION, Job
from app.core.settings import Settings, get_settings
from app.core.spec.catalogue import (
    Catalogue,
    judge_entry,
    load_catalogue,
)
from app.core.spec.job import JobSpec
from app.core.spec.method import RewardModel
from app.core.storage import open_store
from worker import evaluation, parts, recipe
from worker.cycle.events import Event, RoundEnded
from worker.cycle.health import Watch
from worker.ending import DONE, PAUSE, STOPPED
from worker.failure import PAUSING, Rejected, needed, report
from worker.ledger import inputs
from worker.ledger.book import Book
from worker.ledger.card import model_card
from worker.ledger.checkpoints import Shelf
from worker.recipe import Run
from worker.unchanged import require_unchanged
from worker.whitebox.checkpoint import load_training_state, save_checkpoint
from worker.whitebox.policy import WhiteBox

STATE_FILE = "training_state/method.json"
HEALTH_FILE = "training_state/health.json"
PACKAGES = ("torch", "transformers", "peft", "safetensors", "openai", "cyclealign")


def main() -> int:
    """Run the job whose lease stands on standard input; return the exit code."""
    grant = json.loads(sys.stdin.readline())
    setup_logging()
    stopping, pausing = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(PAUSE, lambda *_: pausing.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return report(lambda: work(Lease(**grant), stopping, pausing))


def work(lease: Lease, stopping: threading.Event, pausing: threading.Event | None = None) -> int:
    """Run what the lease is of; what only somebody's help lets go on pauses it."""
    try:
        return _work(lease, stopping, pausing)
    except PAUSING as error:
        Book(get_engine(), lease).pause("runner", str(error), needed(error))
        return STOPPED


def _work(lease: Lease, stopping: threading.Event, pausing: threading.Event | None) -> int:
    job = inputs.read_job(get_engine(), lease.job_id)
    if job.kind == EVALUATION:
        if pausing is not None:
            _stop_to_pause(stopping, pausing)
        return evaluate(lease, job, stopping)
    opened = open_run(lease, stopping)
    return run(opened if pausing is None else replace(opened, pausing=pausing))


def _stop_to_pause(stopping: threading.Event, pausing: threading.Event) -> None:
    """An evaluation keeps each row at once, so it need not wait for the end of anything."""
    signal.signal(PAUSE, lambda *_: stopping.set())
    if pausing.is_set():
        stopping.set()


def evaluate(
    lease: Lease, job: Job, stopping: threading.Event, most_events: int | None = None
) -> int:
    """Run an evaluation to its end, or until asked to stop, or for a number of events."""
    settings, engine = get_settings(), get_engine()
    try:
        spec = evaluation.read_evaluation(job)
        catalogue = load_catalogue(settings.catalogue)
    except (ValueError, OSError) as error:
        raise Rejected("catalogue_unreadable", str(error)) from error
    _use_threads(settings)
    book = Book(engine, lease)
    book.start(environment())
    store = open_store(settings.artifacts_url, engine)
    parts_of_it = (settings, engine, store, book, job, spec, catalogue, stopping)
    return evaluation.run(evaluation.Evaluation(*parts_of_it), most_events)


def _use_threads(settings: Settings) -> None:
    if settings.threads:
        torch.set_num_threads(settings.threads)


def open_run(lease: Lease, stopping: threading.Event) -> Run:
    """Read the job and check that the catalogue still offers what was resolved."""
    settings = get_settings()
    engine = get_engine()
    job = inputs.read_job(engine, lease.job_id)
    try:
        spec = parts.read_spec(job.resolved)
        catalogue = load_catalogue(settings.catalogue)
    except (ValueError, OSError) as error:
        raise Rejected("catalogue_unreadable", str(error)) from error
    _check_entries(job, spec, catalogue)
    book = Book(engine, lease)
    store = open_store(settings.artifacts_url, engine)
    shelf = Shelf(book, store, spec.checkpoints.keep)
    return Run(settings, engine, book, shelf, job, spec, catalogue, stopping)


def _check_entries(job: Job, spec: JobSpec, catalogue: Catalogue) -> None:
    told, name = job.resolved, spec.model.name
    require_unchanged("model", name, catalogue.models.get(name), told["model"]["entry_sha256"])
    if spec.judge is not None:
        entry, sha256 = judge_entry(spec.judge, catalogue), told["judge"]["entry_sha256"]
        require_unchanged("judge", spec.judge.known_as, entry, sha256)


def run(run: Run, most_events: int | None = None) -> int:
    """Drive the method to its end, or until asked to stop, or for a number of events."""
    _use_threads(run.settings)
    run.book.start(environment())
    with (
        tempfile.TemporaryDirectory(prefix="cyclealign-") as scratch,
        recipe.open_judge(run) as judge,
        recipe.open_policy(run) as policy,
    ):
        gauge, watch = recipe.gauge_of(run, policy), recipe.watch_of(run)
        events = recipe.events(
            run, policy, judge, gauge, _resume(run, policy, watch, Path(scratch))
        )
        for event in itertools.islice(events, most_events):
            run.book.record(event)
            recipe.look(run, policy, watch, event)
            pausing = run.pausing.is_set() and isinstance(event, RoundEnded)
            if isinstance(event, RoundEnded):
                run.book.measure(event.round, gauge.figures() | watch.figures())
                if pausing or _checkpoint_due(run.spec, event):
                    _keep(run, policy, watch, event, Path(scratch))
            if _finished(event):
                return DONE
            if pausing or run.stopping.is_set():
                break
    return STOPPED


def _finished(event: Event) -> bool:
    return isinstance(event, RoundEnded) and event.done


def _resume(run: Run, policy: WhiteBox, watch: Watch, scratch: Path) -> dict[str, Any] | None:
    if run.book.lease.checkpoint_id is None:
        return None
    folder = scratch / "resume"
    run.shelf.fetch(folder, {"training_state"})
    load_training_state(policy, folder)
    watch.restore(json.loads((folder / HEALTH_FILE).read_text(encoding="utf-8")))
    state: dict[str, Any] = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    return state


def _keep(run: Run, policy: WhiteBox, watch: Watch, event: RoundEnded, scratch: Path) -> None:
    """Take a checkpoint of the round."""
    with tempfile.TemporaryDirectory(dir=scratch) as place:
        folder = Path(place) / "checkpoint"
        job = inputs.read_job(run.engine, run.job.id)
        forms = _forms(run.spec, done=event.done)
        save_checkpoint(
            policy,
            folder,
            base_model=run.spec.model.name,
            adapter="adapter" in forms,
            merged="merged" in forms,
            card=model_card(job, updates=event.version, round_=event.round, forms=forms),
        )
        (folder / STATE_FILE).write_text(json.dumps(event.state), encoding="utf-8")
        (folder / HEALTH_FILE).write_text(json.dumps(watch.to_state()), encoding="utf-8")
        facts = {
            "job_id": job.id,
            "update": event.version,
            "base_model": run.spec.model.name,
            "base_entry_sha256": job.resolved["model"]["entry_sha256"],
            "created_by": f"cyclealign {metadata.version('cyclealign')}",
        }
        run.shelf.put(folder, event, facts)


def _checkpoint_due(spec: JobSpec, event: RoundEnded) -> bool:
    """Round 0 is worth one only if held-out prompts were sampled in it."""
    if event.done:
        return True
    if event.round == 0:
        return spec.held_out is not None
    return event.round % spec.checkpoints.every_rounds == 0


def _forms(spec: JobSpec, *, done: bool) -> list[str]:
    """Full tuning has no adapter; a reward model's would lack its head. Both are whole models."""
    if isinstance(spec.method, RewardModel):
        return ["merged"] if done else []
    if spec.model.tuning.type == "full":
        return ["merged"]
    return ["adapter", "merged"] if done else ["adapter"]


def environment() -> dict[str, Any]:
    """Say where this attempt runs: versions, device, threads."""
    return {
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "python": sys.version.split()[0],
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "host": os.uname().nodename,
        "pid": os.getpid(),
    }


if __name__ == "__main__":
    sys.exit(main())
