"""From the catalogue's judges to black boxes."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import assert_never

from sqlalchemy import Engine

from app.core.settings import Settings
from app.core.spec.catalogue import (
    Catalogue,
    JudgeEntry,
    LocalLmJudge,
    ModelEntry,
    OpenAiJudge,
    RecordedJudge,
    RewardModelJudge,
    RubricJudge,
    entry_hash,
    judge_entry,
)
from app.core.spec.job import DemonstrationsSpec, JobSpec, JudgeSpec
from app.core.storage import Store
from worker import judging
from worker.blackbox.choosing_lm import ChoosingLmBox
from worker.blackbox.failures import CredentialRejected
from worker.blackbox.local_lm import LocalLmBox
from worker.blackbox.openai import OpenAiBox, OpenAiEndpoint
from worker.blackbox.recorded import RecordedBox, read_recording
from worker.blackbox.reward_model import RewardBox
from worker.blackbox.rubric import RubricBox
from worker.blackbox.types import BlackBox
from worker.cycle.demonstration import BUILT_IN
from worker.cycle.ports import Judge
from worker.cycle.types import Demonstration
from worker.ledger import inputs
from worker.ledger.book import Book
from worker.ledger.fetching import fetch_model
from worker.parts import build_source
from worker.whitebox.load import FolderModel
from worker.whitebox.opening import open_speaker
from worker.whitebox.reader import open_reader
from worker.whitebox.rewarder import open_rewarder
from worker.whitebox.sample import Generation

LOCAL_JUDGE_CONTEXT = 2048
"""Tokens of a local judge's prompt and reply together."""


@dataclass(frozen=True)
class Surroundings:
    """What judges and contestants are built in."""

    catalogue: Catalogue
    cache: Path
    """Where converted models and fetched checkpoints are kept."""
    interrupted: Callable[[], bool]
    fetch: Callable[[str], Path]
    """Gives the folder of a checkpoint's whole model."""


def surroundings(
    settings: Settings,
    catalogue: Catalogue,
    engine: Engine,
    store: Store,
    interrupted: Callable[[], bool],
) -> Surroundings:
    """Those of a job on this machine."""
    cache = model_cache(settings)
    fetch = partial(fetch_model, engine, store, cache)
    return Surroundings(catalogue, cache, interrupted, fetch)


def model_cache(settings: Settings) -> Path:
    """Where converted models and fetched checkpoints are kept."""
    return (settings.data_dir / "models").absolute()


def open_judge(
    spec: JudgeSpec, around: Surroundings, book: Book, stop_grace_seconds: float
) -> AbstractContextManager[Judge]:
    """Open a judge that a job names, asked through the ledger of its book."""
    entry = judge_entry(spec, around.catalogue)
    assert entry is not None
    return judging.open_judge(
        build_judge(entry, around),
        entry,
        spec.known_as,
        book,
        interrupted=around.interrupted,
        stop_grace_seconds=stop_grace_seconds,
    )


def read_static(engine: Engine, spec: JobSpec) -> tuple[Demonstration, ...]:
    """Read the static demonstrations of a job's questions."""
    match spec.demonstrations:
        case "none":
            return ()
        case "builtin":
            return (BUILT_IN,)
        case DemonstrationsSpec(dataset=dataset, n=n):
            return inputs.read_demonstrations(engine, dataset, n)


def build_judge(entry: JudgeEntry, around: Surroundings) -> BlackBox:
    """Open the black box; a credential is read from the worker's environment, nowhere else."""
    match entry:
        case OpenAiJudge():
            return _openai_judge(entry)
        case LocalLmJudge():
            return _local_judge(entry, around.catalogue.models[entry.model], around)
        case RewardModelJudge():
            return _reward_judge(entry, around)
        case RubricJudge():
            return RubricBox()
        case RecordedJudge():
            return RecordedBox(read_recording(Path(entry.path)))
        case _:
            assert_never(entry)


def _openai_judge(entry: OpenAiJudge) -> OpenAiBox:
    key = os.environ.get(entry.credential_env) if entry.credential_env else None
    if entry.credential_env and not key:
        raise CredentialRejected(f"the worker's environment has no {entry.credential_env}")
    endpoint = OpenAiEndpoint(
        base_url=str(entry.base_url),
        model=entry.model,
        api_key=key,
        structured=entry.structured,
        temperature=entry.temperature,
        max_tokens=entry.max_tokens,
        timeout_seconds=entry.timeout_seconds,
        tries=entry.tries,
    )
    return OpenAiBox(endpoint)


def _local_judge(
    entry: LocalLmJudge, model: ModelEntry, around: Surroundings
) -> LocalLmBox | ChoosingLmBox:
    generation = Generation(max_new_tokens=entry.max_tokens, max_length=LOCAL_JUDGE_CONTEXT)
    speaker = open_speaker(
        build_source(model),
        generation,
        chat=model.chat,
        cache=around.cache,
        interrupted=around.interrupted,
    )
    name = f"{entry.model}@{entry_hash(model)[:12]}"
    box = LocalLmBox(speaker, name)
    if entry.replies == "written":
        return box
    return ChoosingLmBox(open_reader(speaker), box, name)


def _reward_judge(entry: RewardModelJudge, around: Surroundings) -> RewardBox:
    generation = Generation(max_new_tokens=entry.response_tokens, max_length=entry.max_length)
    if entry.checkpoint is not None:
        source = FolderModel(around.fetch(entry.checkpoint))
        return RewardBox(open_rewarder(source, generation), entry.checkpoint)
    assert entry.model is not None
    model = around.catalogue.models[entry.model]
    rewarder = open_rewarder(build_source(model), generation, chat=model.chat)
    return RewardBox(rewarder, f"{entry.model}@{entry_hash(model)[:12]}")
