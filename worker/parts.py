"""From a job's spec and the operator's catalogue to the parts of a run; one `match` a union."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, assert_never

from app.core.spec.catalogue import (
    Catalogue,
    FolderSource,
    HubSource,
    JudgeEntry,
    LocalLmJudge,
    ModelEntry,
    OpenAiJudge,
    PackageSource,
    RecordedJudge,
    RubricJudge,
    entry_hash,
)
from app.core.spec.job import Full, GenerationSpec, JobSpec, Lora, OptimizerSpec
from app.core.spec.method import CycleAlign, ObjectiveSpec, Pro, Rrhf
from worker.blackbox.failures import CredentialRejected
from worker.blackbox.local_lm import LocalLmBox
from worker.blackbox.openai import OpenAiBox, OpenAiEndpoint
from worker.blackbox.recorded import RecordedBox, read_recording
from worker.blackbox.rubric import RubricBox
from worker.blackbox.types import BlackBox
from worker.cycle.seeds import derive
from worker.methods.cyclealign import CycleConfig
from worker.objectives import pro, rrhf
from worker.objectives.types import Objective
from worker.whitebox.continuous import ContinuousSampler
from worker.whitebox.frozen import packing_pays
from worker.whitebox.generate import GenerateSampler
from worker.whitebox.load import FolderModel, HubModel, PackageModel, Source
from worker.whitebox.opening import Learning, MakeSampler, make_trainable, open_speaker
from worker.whitebox.policy import WhiteBox
from worker.whitebox.sample import Generation
from worker.whitebox.schedule import OptimizerConfig
from worker.whitebox.tuning import FullTuning, LoraTuning, Tuning
from worker.whitebox.vllm import VllmSampler

LOCAL_JUDGE_CONTEXT = 2048
"""Tokens of a local judge's prompt and reply together."""


def build_source(entry: ModelEntry) -> Source:
    """Say where a catalogue model's weights lie."""
    match entry.source:
        case HubSource(repo=repo, revision=revision):
            return HubModel(repo, revision)
        case FolderSource(path=path):
            return FolderModel(Path(path))
        case PackageSource(package=package, file=file):
            return PackageModel(package, file)
        case _:
            assert_never(entry.source)


def build_objective(spec: ObjectiveSpec) -> Objective:
    """Choose the loss."""
    weight = None if spec.lambda_ == "auto" else spec.lambda_
    match spec:
        case Pro():
            return pro.Pro(weight)
        case Rrhf():
            return rrhf.Rrhf(weight)
        case _:
            assert_never(spec)


def build_tuning(spec: Lora | Full) -> Tuning:
    """Choose what is trained."""
    match spec:
        case Lora():
            return LoraTuning(spec.rank, spec.alpha)
        case Full():
            return FullTuning()
        case _:
            assert_never(spec)


def build_sampler(spec: GenerationSpec) -> MakeSampler | None:
    """Choose what computes the samples; None leaves it to the model."""
    match spec.sampler:
        case "batched":
            return None
        case "generate":
            return GenerateSampler
        case "continuous":
            return ContinuousSampler
        case "vllm":
            return VllmSampler
        case _:
            assert_never(spec.sampler)


def build_policy(
    spec: JobSpec, entry: ModelEntry, *, steps: int, cache: Path, interrupted: Callable[[], bool]
) -> WhiteBox:
    """Load the white box and make it trainable; `steps` bounds the schedule."""
    generation = Generation(
        temperature=spec.generation.temperature,
        top_p=spec.generation.top_p,
        max_new_tokens=spec.generation.max_new_tokens,
        max_length=spec.generation.max_length,
        precision=spec.model.precision,
    )
    source = build_source(entry)
    return make_trainable(
        open_speaker(
            source,
            generation,
            chat=entry.chat,
            cache=cache,
            make_sampler=build_sampler(spec.generation),
            interrupted=interrupted,
        ),
        build_tuning(spec.model.tuning),
        build_objective(spec.method.objective),
        optimizer_config(spec.optimizer),
        total_updates=steps * spec.method.iterations,
        seed=derive(spec.seed, "tuning"),
        learning=Learning(
            shared_prompt=spec.engine.shared_prompt,
            batch_tokens=spec.engine.batch_tokens,
            checkpointing=spec.engine.checkpointing,
            merged_sampling=spec.engine.merged_sampling,
            packed_weights=_packed(spec.engine.packed_weights),
        ),
    )


def _packed(wanted: Literal["auto", "on", "off"]) -> bool:
    return packing_pays() if wanted == "auto" else wanted == "on"


def optimizer_config(spec: OptimizerSpec) -> OptimizerConfig:
    """Return the optimizer's settings as the white box takes them."""
    return OptimizerConfig(
        kind=spec.type,
        lr=spec.lr,
        weight_decay=spec.weight_decay,
        betas=spec.betas,
        schedule=spec.schedule,
        warmup_updates=spec.warmup_updates,
        clip=spec.clip,
    )


def cycle_config(spec: JobSpec, method: CycleAlign) -> CycleConfig:
    """Return the method's settings."""
    return CycleConfig(
        seed=spec.seed,
        iterations=method.iterations,
        candidates=method.candidates,
        concurrency=method.concurrency,
        update=method.update,
        staleness=method.staleness,
        teacher=method.teacher != "off",
        dynamic=method.dynamic_demonstrations,
        belief=method.belief,
        held_out_samples=spec.held_out.samples_per_prompt if spec.held_out else 1,
    )


def build_judge(
    entry: JudgeEntry, catalogue: Catalogue, *, cache: Path, interrupted: Callable[[], bool]
) -> BlackBox:
    """Open the black box; a credential is read from the worker's environment, nowhere else."""
    match entry:
        case OpenAiJudge():
            return _openai_judge(entry)
        case LocalLmJudge():
            return _local_judge(entry, catalogue.models[entry.model], cache, interrupted)
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
    entry: LocalLmJudge, model: ModelEntry, cache: Path, interrupted: Callable[[], bool]
) -> LocalLmBox:
    generation = Generation(max_new_tokens=entry.max_tokens, max_length=LOCAL_JUDGE_CONTEXT)
    source = build_source(model)
    speaker = open_speaker(
        source, generation, chat=model.chat, cache=cache, interrupted=interrupted
    )
    return LocalLmBox(speaker, f"{entry.model}@{entry_hash(model)[:12]}")


def read_spec(resolved: dict[str, Any]) -> JobSpec:
    """Read the settled part of a resolved spec back; what was added to it is left out."""
    method = dict(resolved["method"])
    method["teacher"] = "on" if method["teacher"] else "off"
    values = resolved | {"method": method}
    return JobSpec.model_validate_json(json.dumps(values), extra="ignore")
