"""The recipe of a run: its method over its data, with the policy and the judge that it needs."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import assert_never

from sqlalchemy import Engine

from app.core.models import Job
from app.core.settings import Settings
from app.core.spec.catalogue import Catalogue
from app.core.spec.job import JobSpec
from app.core.spec.method import CycleAlign, Ranking, RewardModel, SupervisedFineTuning
from worker import judges, parts, rank
from worker.cycle.events import Event, Iterated
from worker.cycle.health import Thresholds, Watch
from worker.cycle.meter import metered_judge, metered_policy
from worker.cycle.ports import Answers, Judge, Policy, State
from worker.cycle.types import Prompt
from worker.failure import Rejected
from worker.judges import model_cache, surroundings
from worker.ledger import inputs
from worker.ledger.book import Book
from worker.ledger.checkpoints import Shelf
from worker.ledger.fetching import fetch_model
from worker.methods.cyclealign import cyclealign
from worker.methods.held_out import score_held_out
from worker.methods.offline import Evaluate, offline
from worker.methods.validating import validate
from worker.whitebox.figures import Gauge, open_gauge
from worker.whitebox.policy import WhiteBox

HELD_OUT_ROWS = 32
"""Responses sampled at once for held-out prompts, where no lanes say how many."""


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
    """It is time to end, whatever is lost by that."""
    pausing: threading.Event = field(default_factory=threading.Event)
    """The round that ends next is to be kept and to be the last one for now."""


def open_judge(run: Run) -> AbstractContextManager[Judge | None]:
    """Open the judge, if the job has one."""
    asked = run.spec.judge
    if asked is None:
        return nullcontext()
    interrupted = run.stopping.is_set
    around = surroundings(run.settings, run.catalogue, run.engine, run.shelf.store, interrupted)
    return judges.open_judge(asked, around, run.book, run.settings.stop_grace_seconds)


def open_policy(run: Run) -> AbstractContextManager[WhiteBox]:
    """Load the white box, on as many ranks as the job asks for."""
    order = rank.Order(
        run.job.resolved,
        run.catalogue.models[run.spec.model.name].model_dump(mode="json"),
        steps=run.job.steps_total,
        cache=str(model_cache(run.settings)),
        start=_start(run),
        threads=run.settings.threads,
    )
    return rank.open_policy(order, run.stopping.is_set)


def _start(run: Run) -> str | None:
    """Fetch the weights that the job starts from, if they are not the catalogue's."""
    wanted = run.spec.model.checkpoint
    if wanted is None:
        return None
    form = parts.start_form(run.spec.model.tuning)
    cache = model_cache(run.settings)
    return str(fetch_model(run.engine, run.shelf.store, cache, wanted, form))


def gauge_of(run: Run, policy: WhiteBox) -> Gauge:
    """Begin to measure."""
    method = run.spec.method
    rows = method.concurrency * method.candidates if isinstance(method, CycleAlign) else 1
    return open_gauge(policy.speaker, rows, time.perf_counter)


def watch_of(run: Run) -> Watch:
    """Begin to watch over a run's health."""
    values = run.spec.health.model_dump(exclude={"action", "kl_every"})
    return Watch(Thresholds(**values))


def look(run: Run, policy: WhiteBox, watch: Watch, event: Event) -> None:
    """Show the watch one event and log what alarms.

    Raises:
        Rejected: something does, and the job asked to be stopped by that.
    """
    if not isinstance(event, Iterated):
        return
    health = run.spec.health
    if _measures_distance(run.spec, watch):
        kept = tuple(sample for sample in event.samples if sample.tokens)
        watch.measure(policy.distance(Answers(event.prompt, kept)))
    watch.see(event)
    for alarm in watch.alarms():
        run.book.alarm(alarm, stops=health.action == "stop")
        if health.action == "stop":
            raise Rejected(f"alarm_{alarm.name}", alarm.message)
        if health.action == "pause":
            run.book.pause("health", alarm.message)
            run.pausing.set()


def _measures_distance(spec: JobSpec, watch: Watch) -> bool:
    """Ranks would all have to make the pass, so over several there is none."""
    asked = spec.health.kl is not None and spec.engine.zero is None
    return asked and watch.count % spec.health.kl_every == 0


def events(
    run: Run, policy: WhiteBox, judge: Judge | None, gauge: Gauge, state: State | None
) -> Iterator[Event]:
    """Choose the method and begin, or go on from a state."""
    metered = metered_policy(policy, gauge.meter)
    asked = judge and metered_judge(judge, gauge.meter)
    match run.spec.method:
        case CycleAlign() as method:
            assert asked is not None
            return cyclealign(
                prompts=inputs.read_prompts(run.engine, run.job.id, "align"),
                static=judges.read_static(run.engine, run.spec),
                held_out=_held_out(run),
                policy=metered,
                judge=asked,
                config=parts.cycle_config(run.spec, method),
                state=state,
            )
        case Ranking() | SupervisedFineTuning() as method:
            evaluate = _scoring(run, metered, asked)
        case RewardModel() as method:
            examples = inputs.read_examples(run.engine, run.job.id, "validation")
            evaluate = partial(validate, examples, policy)
        case _:
            assert_never(run.spec.method)
    examples = inputs.read_examples(run.engine, run.job.id, "align")
    return offline(examples, metered, parts.offline_config(run.spec, method), evaluate, state)


def _held_out(run: Run) -> Sequence[Prompt]:
    return inputs.read_prompts(run.engine, run.job.id, "held_out")


def _scoring(run: Run, policy: Policy, judge: Judge | None) -> Evaluate:
    """Held-out prompts answered and scored, where there is a judge to score them."""
    prompts = _held_out(run)
    samples = run.spec.held_out.samples_per_prompt if run.spec.held_out else 1

    def score(when: str) -> Iterator[Event]:
        if judge is None:
            return iter(())
        return score_held_out(
            f"held_out_{when}",
            prompts,
            policy,
            judge,
            seed=run.spec.seed,
            samples=samples,
            batch=HELD_OUT_ROWS,
        )

    return score
