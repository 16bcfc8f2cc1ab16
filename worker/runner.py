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
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from sqlalchemy import Engine

from app.core.db import get_engine
from app.core.lease import Lease
from app.core.logging import setup_logging
from app.core.models import Job
from app.core.process import die_with_parent
from app.core.settings import Settings, get_settings
from app.core.spec.catalogue import Catalogue, entry_hash, load_catalogue
from app.core.spec.job import DemonstrationsSpec, JobSpec
from app.core.storage import open_store
from worker import parts
from worker.cycle.demonstration import BUILT_IN
from worker.cycle.events import Event, RoundEnded
from worker.cycle.meter import metered_judge, metered_policy
from worker.cycle.ports import Judge
from worker.cycle.types import Demonstration
from worker.ending import DONE, STOPPED
from worker.failure import Rejected, report
from worker.judging import LedgeredJudge, open_judge
from worker.ledger import inputs
from worker.ledger.book import Book
from worker.ledger.card import model_card
from worker.ledger.checkpoints import Shelf
from worker.methods.cyclealign import cyclealign
from worker.rank import Order, open_policy
from worker.whitebox.checkpoint import load_training_state, save_checkpoint
from worker.whitebox.figures import Gauge, open_gauge
from worker.whitebox.policy import WhiteBox

STATE_FILE = "training_state/method.json"
PACKAGES = ("torch", "transformers", "peft", "safetensors", "openai", "cyclealign")


@dataclass(frozen=True)
class Run:
    """All that a run stands on."""

    settings: Settings
    engine: Engine
    book: Book
    shelf: Shelf
    job: Job
    spec: JobSpec
    catalogue: Catalogue
    stopping: threading.Event


def main() -> int:
    """Run the job whose lease stands on standard input; return the exit code."""
    grant = json.loads(sys.stdin.readline())
    die_with_parent(grant.pop("parent_pid"))
    setup_logging()
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return report(lambda: run(open_run(Lease(**grant), stopping)))


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
    for kind, name, entries in (
        ("model", spec.model.name, catalogue.models),
        ("judge", spec.judge.name, catalogue.judges),
    ):
        entry = entries.get(name)
        if entry is None:
            raise Rejected(f"{kind}_not_in_catalogue", f"The catalogue has no {kind} {name!r}.")
        if entry_hash(entry) != job.resolved[kind]["entry_sha256"]:
            raise Rejected(
                "catalogue_changed",
                f"The catalogue's {kind} {name!r} is not the one that this job was made for. "
                "Restore the entry or submit the job anew.",
            )


def run(run: Run, most_events: int | None = None) -> int:
    """Drive the method to its end, or until asked to stop, or for a number of events."""
    if run.settings.threads:
        torch.set_num_threads(run.settings.threads)
    run.book.start(environment())
    with (
        tempfile.TemporaryDirectory(prefix="cyclealign-") as scratch,
        _judge(run) as judge,
        _policy(run) as policy,
    ):
        gauge, events = _begin(run, policy, judge, Path(scratch))
        for event in itertools.islice(events, most_events):
            run.book.record(event)
            if isinstance(event, RoundEnded):
                run.book.measure(event.round, gauge.figures())
                _round_ended(run, policy, event, Path(scratch))
            if _finished(event):
                return DONE
            if run.stopping.is_set():
                break
    return STOPPED


def _finished(event: Event) -> bool:
    return isinstance(event, RoundEnded) and event.done


def _judge(run: Run) -> AbstractContextManager[LedgeredJudge]:
    entry = run.catalogue.judges[run.spec.judge.name]
    interrupted = run.stopping.is_set
    box = parts.build_judge(entry, run.catalogue, cache=_cache(run), interrupted=interrupted)
    return open_judge(
        box,
        entry,
        run.spec.judge.name,
        run.book,
        interrupted=interrupted,
        stop_grace_seconds=run.settings.stop_grace_seconds,
    )


def _cache(run: Run) -> Path:
    return (run.settings.data_dir / "models").absolute()


def _policy(run: Run) -> AbstractContextManager[WhiteBox]:
    order = Order(
        run.job.resolved,
        run.catalogue.models[run.spec.model.name].model_dump(mode="json"),
        steps=run.job.steps_total,
        cache=str(_cache(run)),
        threads=run.settings.threads,
    )
    return open_policy(order, run.stopping.is_set)


def _begin(
    run: Run, policy: WhiteBox, judge: Judge, scratch: Path
) -> tuple[Gauge, Iterator[Event]]:
    prompts = inputs.read_prompts(run.engine, run.job.id, "align")
    rows = run.spec.method.concurrency * run.spec.method.candidates
    gauge = open_gauge(policy.speaker, rows, time.perf_counter)
    events = cyclealign(
        prompts=prompts,
        static=read_static(run),
        held_out=inputs.read_prompts(run.engine, run.job.id, "held_out"),
        policy=metered_policy(policy, gauge.meter),
        judge=metered_judge(judge, gauge.meter),
        config=parts.cycle_config(run.spec, run.spec.method),
        state=_resume(run, policy, scratch),
    )
    return gauge, events


def _resume(run: Run, policy: WhiteBox, scratch: Path) -> dict[str, Any] | None:
    if run.book.lease.checkpoint_id is None:
        return None
    folder = scratch / "resume"
    run.shelf.fetch(folder, {"training_state"})
    load_training_state(policy, folder)
    state: dict[str, Any] = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    return state


def _round_ended(run: Run, policy: WhiteBox, event: RoundEnded, scratch: Path) -> None:
    if not _checkpoint_due(run.spec, event):
        return
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
    """Full tuning has no adapter: its checkpoints are whole models."""
    if spec.model.tuning.type == "full":
        return ["merged"]
    return ["adapter", "merged"] if done else ["adapter"]


def read_static(run: Run) -> tuple[Demonstration, ...]:
    """Read the static demonstrations of the judge's prompt."""
    match run.spec.demonstrations:
        case "none":
            return ()
        case "builtin":
            return (BUILT_IN,)
        case DemonstrationsSpec(dataset=dataset, n=n):
            return inputs.read_demonstrations(run.engine, dataset, n)


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
