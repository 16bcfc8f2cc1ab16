"""From a job's spec and the operator's catalogue to the white box and method of a run."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, assert_never

from app.core.spec.catalogue import FolderSource, HubSource, ModelEntry, PackageSource
from app.core.spec.job import Full, GenerationSpec, JobSpec, Lora, OptimizerSpec
from app.core.spec.method import (
    CycleAlign,
    MethodSpec,
    OfflineMethod,
    Ranking,
    RewardModel,
    SupervisedFineTuning,
)
from app.core.spec.objectives import (
    Dpo,
    ObjectiveSpec,
    PairwiseLogistic,
    Pro,
    Rrhf,
    ScoredPro,
    Sft,
    SummedRrhf,
)
from worker.cycle.seeds import derive
from worker.methods.cyclealign import CycleConfig
from worker.methods.offline import OfflineConfig
from worker.objectives import dpo, pro, reward, rrhf, sft
from worker.objectives.types import Objective
from worker.whitebox.continuous import ContinuousSampler
from worker.whitebox.frozen import Layout, best_layout
from worker.whitebox.generate import GenerateSampler
from worker.whitebox.load import FolderModel, HubModel, PackageModel, Source
from worker.whitebox.opening import (
    Learning,
    MakeSampler,
    make_reward_trainable,
    make_trainable,
    open_speaker,
)
from worker.whitebox.policy import WhiteBox
from worker.whitebox.precision import Precision
from worker.whitebox.sample import Generation
from worker.whitebox.schedule import OptimizerConfig
from worker.whitebox.tuning import FullTuning, LoraTuning, Tuning
from worker.whitebox.vllm import VllmSampler


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


def objective_of(method: MethodSpec) -> ObjectiveSpec:
    """Say what a method learns by."""
    match method:
        case CycleAlign() | Ranking():
            return method.objective
        case SupervisedFineTuning():
            return Sft()
        case RewardModel():
            return PairwiseLogistic()
        case _:
            assert_never(method)


def build_objective(spec: ObjectiveSpec) -> Objective:
    """Choose the loss."""
    match spec:
        case Pro():
            return _build_pro(spec)
        case Rrhf():
            return rrhf.Rrhf(_weight(spec), _reduction(spec))
        case Dpo():
            return dpo.Dpo(spec.beta, spec.lambda_)
        case Sft():
            return sft.Sft()
        case PairwiseLogistic():
            return reward.PairwiseLogistic()
        case _:
            assert_never(spec)


def _build_pro(spec: Pro) -> pro.Pro:
    warm = isinstance(spec, ScoredPro) and spec.temperature == "auto"
    return pro.Pro(_weight(spec), _reduction(spec), temperature=warm)


def _reduction(spec: Pro | Rrhf) -> Literal["mean", "sum"]:
    return spec.sft if isinstance(spec, ScoredPro | SummedRrhf) else "mean"


def _weight(spec: Pro | Rrhf) -> float | None:
    return None if spec.lambda_ == "auto" else spec.lambda_


def start_form(spec: Lora | Full) -> Literal["adapter", "merged"]:
    """Say which of a checkpoint's files can be trained on."""
    match spec:
        case Lora():
            return "adapter"
        case Full():
            return "merged"
        case _:
            assert_never(spec)


def build_tuning(spec: Lora | Full, start: Path | None = None) -> Tuning:
    """Choose what is trained; adapters may begin as those in a folder."""
    match spec:
        case Lora():
            return LoraTuning(spec.rank, spec.alpha, start)
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
    spec: JobSpec,
    entry: ModelEntry,
    *,
    steps: int,
    cache: Path,
    interrupted: Callable[[], bool],
    start: Path | None = None,
) -> WhiteBox:
    """Load the white box and make it trainable; `steps` bounds the schedule.

    `start` is a folder with a checkpoint's weights in the form that `start_form` names.
    """
    make = make_reward_trainable if isinstance(spec.method, RewardModel) else make_trainable
    return make(
        open_speaker(
            _source_of(spec.model.tuning, entry, start),
            generation_of(spec.generation, spec.model.precision),
            chat=entry.chat,
            cache=cache,
            make_sampler=build_sampler(spec.generation),
            interrupted=interrupted,
        ),
        build_tuning(spec.model.tuning, start),
        build_objective(objective_of(spec.method)),
        optimizer_config(spec.optimizer),
        total_updates=updates_of(spec.method, steps),
        seed=derive(spec.seed, "tuning"),
        learning=Learning(
            shared_prompt=spec.engine.shared_prompt,
            batch_tokens=spec.engine.batch_tokens,
            checkpointing=spec.engine.checkpointing,
            merged_sampling=spec.engine.merged_sampling,
            layout=_layout(spec.engine.packed_weights),
            compiled=spec.engine.kernels == "auto",
        ),
    )


def _source_of(tuning: Lora | Full, entry: ModelEntry, start: Path | None) -> Source:
    """Under LoRA the catalogue's model stays what the adapters belong to."""
    if start is None or start_form(tuning) == "adapter":
        return build_source(entry)
    return FolderModel(start)


def generation_of(spec: GenerationSpec, precision: Precision = "float32") -> Generation:
    """Return how a model is sampled."""
    return Generation(
        temperature=spec.temperature,
        top_p=spec.top_p,
        max_new_tokens=spec.max_new_tokens,
        max_length=spec.max_length,
        precision=precision,
    )


def updates_of(method: MethodSpec, steps: int) -> int:
    """Most optimizer steps of a run over so many rows: what a schedule is stretched over."""
    match method:
        case CycleAlign():
            return steps * method.iterations
        case _:
            size = 1 if method.update == "per_prompt" else method.concurrency
            return method.epochs * math.ceil(steps / size)


def _layout(packed: Literal["auto", "on", "off"]) -> Layout:
    return best_layout() if packed == "auto" else "packed" if packed == "on" else "own"


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
    """Return the cycle's settings."""
    return CycleConfig(
        seed=spec.seed,
        iterations=method.iterations,
        candidates=method.candidates,
        concurrency=method.concurrency,
        update=method.update,
        staleness=method.staleness,
        teacher=method.teacher != "off",
        dynamic=method.dynamic_demonstrations,
        orders=spec.judge.orders if spec.judge else 1,
        noise=method.judge_noise,
        belief=method.belief,
        held_out_samples=spec.held_out.samples_per_prompt if spec.held_out else 1,
    )


def offline_config(spec: JobSpec, method: OfflineMethod) -> OfflineConfig:
    """Return the settings of learning from given responses."""
    return OfflineConfig(spec.seed, method.epochs, method.concurrency, method.update)


def read_spec(resolved: dict[str, Any]) -> JobSpec:
    """Read the settled part of a resolved spec back; what was added to it is left out."""
    method = dict(resolved["method"])
    if "teacher" in method:
        method["teacher"] = "on" if method["teacher"] else "off"
    values = resolved | {"method": method}
    return JobSpec.model_validate_json(json.dumps(values), extra="ignore")
