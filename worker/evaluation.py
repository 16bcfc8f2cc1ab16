"""The run of an evaluation: its contestants, scorers and judge, built from its spec."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, assert_never

from sqlalchemy import Engine

from app.core.models import Job
from app.core.settings import Settings
from app.core.spec.catalogue import (
    Catalogue,
    JudgeEntry,
    ModelEntry,
    judge_entry,
)
from app.core.spec.evaluation import ContestantSpec, EvaluationSpec
from app.core.spec.job import JudgeSpec
from app.core.storage import Store
from worker.answering import Endpoint
from worker.cycle.contest import AskedTurn
from worker.cycle.events import Event
from worker.cycle.ports import Judge
from worker.cycle.seeds import derive
from worker.cycle.strategies import answer_alone, thinking_first, with_examples
from worker.cycle.types import Dialogue
from worker.ending import DONE, STOPPED
from worker.judges import Surroundings, open_judge, read_static, surroundings
from worker.ledger import inputs
from worker.ledger.book import Book
from worker.methods.evaluating import (
    Contestant,
    EvaluationConfig,
    Judged,
    Pairing,
    Speaking,
    evaluate,
)
from worker.parts import build_sampler, build_source, generation_of, read_spec
from worker.unchanged import require_unchanged
from worker.whitebox.load import FolderModel
from worker.whitebox.opening import open_speaker
from worker.whitebox.reader import open_reader
from worker.whitebox.rewarder import open_rewarder

ROWS = 32
"""Answers sampled at once."""


@dataclass(frozen=True)
class Evaluation:
    """All that an evaluation stands on."""

    settings: Settings
    engine: Engine
    store: Store
    book: Book
    job: Job
    spec: EvaluationSpec
    catalogue: Catalogue
    stopping: threading.Event

    @property
    def around(self) -> Surroundings:
        """What judges and contestants are built in."""
        interrupted = self.stopping.is_set
        return surroundings(self.settings, self.catalogue, self.engine, self.store, interrupted)


def read_evaluation(job: Job) -> EvaluationSpec:
    """Read the settled spec back."""
    return EvaluationSpec.model_validate_json(json.dumps(job.resolved), extra="ignore")


def run(evaluation: Evaluation, most_events: int | None = None) -> int:
    """Drive the evaluation to its end, or until asked to stop, or for a number of events."""
    _check_entries(evaluation)
    with ExitStack() as stack:
        for count, event in enumerate(_events(evaluation, stack), 1):
            evaluation.book.record(event)
            if evaluation.stopping.is_set() or count == most_events:
                return STOPPED
    evaluation.book.finish()
    return DONE


def _events(evaluation: Evaluation, stack: ExitStack) -> Iterator[Event]:
    spec = evaluation.spec
    scorers = {one.known_as: _judge(evaluation, one, stack) for one in spec.scorers}
    engine, job_id = evaluation.engine, evaluation.job.id
    return evaluate(
        inputs.read_prompts(engine, job_id, "prompts"),
        inputs.read_examples(engine, job_id, "given"),
        _judged(evaluation, stack),
        [_contestant(evaluation, one) for one in spec.contestants],
        scorers,
        _pairing(evaluation, stack),
        EvaluationConfig(
            spec.seed,
            spec.samples_per_prompt,
            max(1, ROWS // spec.samples_per_prompt),
            letters=spec.given is not None and spec.given.form == "letters",
        ),
        inputs.read_stored(engine, job_id),
    )


def _judged(evaluation: Evaluation, stack: ExitStack) -> Judged:
    """The judged run's rankings, and its judge where that is asked again."""
    spec, engine = evaluation.spec, evaluation.engine
    if spec.judged is None:
        return Judged()
    turns = inputs.read_judged(engine, spec.judged) if spec.scorers else []
    if spec.consistency is None:
        return Judged(turns)
    resolved = inputs.read_job(engine, spec.judged).resolved
    asked = read_spec(resolved)
    assert asked.judge is not None
    judge = _judge(evaluation, asked.judge, stack)
    again = inputs.read_asked(
        engine,
        spec.judged,
        read_static(engine, asked),
        reads=judge.traits.reads_demonstrations,
        teacher=resolved["method"]["teacher"],
    )
    return Judged(turns, judge, _some(again, spec.seed, spec.consistency.n))


def _some(turns: list[AskedTurn], seed: int, n: int) -> list[AskedTurn]:
    """A seeded choice, in the order of the run."""
    drawn = sorted(turns, key=lambda one: derive(seed, "again", one.step, one.iteration))[:n]
    return sorted(drawn, key=lambda one: (one.step, one.iteration))


def _pairing(evaluation: Evaluation, stack: ExitStack) -> Pairing | None:
    asked = evaluation.spec.pairwise
    if asked is None:
        return None
    pairs = tuple((left, right) for left, right in evaluation.job.resolved["pairs"])
    return Pairing(_judge(evaluation, asked.judge, stack), pairs, asked.form)


def _judge(evaluation: Evaluation, spec: JudgeSpec, stack: ExitStack) -> Judge:
    grace = evaluation.settings.stop_grace_seconds
    return stack.enter_context(open_judge(spec, evaluation.around, evaluation.book, grace))


def _contestant(evaluation: Evaluation, spec: ContestantSpec) -> Contestant:
    prepare, finish = _strategy(evaluation, spec)
    return Contestant(spec.label, partial(_speaking, evaluation, spec), prepare, finish)


def _strategy(
    evaluation: Evaluation, spec: ContestantSpec
) -> tuple[Callable[[Dialogue], Dialogue], Callable[[str], str]]:
    match spec.strategy:
        case "zero_shot":
            return partial(with_examples, examples=()), str
        case "icl":
            assert spec.examples is not None
            shown = inputs.read_dialogues(evaluation.engine, spec.examples.dataset, spec.examples.n)
            return partial(with_examples, examples=shown), str
        case "cot":
            return thinking_first, answer_alone
        case _:
            assert_never(spec.strategy)


@contextmanager
def _speaking(evaluation: Evaluation, spec: ContestantSpec) -> Iterator[Speaking]:
    """Load the contestant; it is let go of before the next one is loaded."""
    wanted = evaluation.spec.generation
    generation = generation_of(wanted)
    around = evaluation.around
    if spec.endpoint is not None:
        with ExitStack() as stack:
            judge = _judge(evaluation, JudgeSpec(name=spec.endpoint), stack)
            yield Endpoint(judge, evaluation.spec.contestants.index(spec))
        return
    if _facts(evaluation, spec).get("reward_model"):
        yield open_rewarder(FolderModel(_fetched(around, spec)), generation)
        return
    entry = None if spec.model is None else evaluation.catalogue.models[spec.model]
    speaker = open_speaker(
        FolderModel(_fetched(around, spec)) if entry is None else build_source(entry),
        generation,
        chat="auto" if entry is None else entry.chat,
        cache=around.cache,
        make_sampler=build_sampler(wanted),
        interrupted=around.interrupted,
    )
    yield open_reader(speaker)


def _facts(evaluation: Evaluation, spec: ContestantSpec) -> dict[str, Any]:
    """What the submission found out about a contestant."""
    told: list[dict[str, Any]] = evaluation.job.resolved["contestants"]
    return next(one for one in told if one["label"] == spec.label)


def _fetched(around: Surroundings, spec: ContestantSpec) -> Path:
    assert spec.checkpoint is not None
    return around.fetch(spec.checkpoint)


def _check_entries(evaluation: Evaluation) -> None:
    """What was resolved must still be what the catalogue offers."""
    resolved, catalogue = evaluation.job.resolved, evaluation.catalogue
    contestants: list[tuple[dict[str, Any], ModelEntry | JudgeEntry | None]] = [
        (one, catalogue.models.get(one["model"]) or catalogue.judges.get(one["endpoint"]))
        for one in resolved["contestants"]
        if one["checkpoint"] is None
    ]
    asked = [*evaluation.spec.scorers]
    told = [*resolved["scorers"]]
    if evaluation.spec.pairwise is not None:
        asked.append(evaluation.spec.pairwise.judge)
        told.append(resolved["pairwise"]["judge"])
    if evaluation.spec.consistency is not None:
        told.append(resolved["consistency"]["judge"])
        asked.append(JudgeSpec(**{name: told[-1][name] for name in ("name", "checkpoint")}))
    judges = zip(told, (judge_entry(one, catalogue) for one in asked), strict=True)
    entries = [*contestants, *judges]
    for facts, entry in entries:
        named = facts.get("model") or facts.get("endpoint") or facts.get("name")
        require_unchanged("entry", str(named), entry, facts["entry_sha256"])
