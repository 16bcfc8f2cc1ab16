"""What TRL's trainers share here: arguments, data, the judge as a reward, counts and the clock."""

import importlib.util
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from peft import LoraConfig
from transformers import TrainerCallback

from benchmarks.forcing import KeyedLengths, force_lengths
from benchmarks.judge import JudgeClient
from benchmarks.models import build_for
from benchmarks.prompts import prompts_for, rendered, token_ids
from benchmarks.systems import UnavailableError
from benchmarks.workload import Measured, Stopwatch, Workload
from worker.cycle.types import Prompt

NEVER = 10**9


@dataclass
class Counts:
    """What the rewards saw since the warm-up."""

    samples: int = 0
    generated_tokens: int = 0
    trained_tokens: int = 0
    prompt_iterations: int = 0
    judge_calls: int = 0
    judge_wait_seconds: float = 0.0


@dataclass
class Setting:
    """A workload made ready for a trainer."""

    workload: Workload
    model: Any
    tokenizer: Any
    prompts: list[Prompt]
    judge: JudgeClient
    counts: Counts = field(default_factory=Counts)

    @property
    def places(self) -> dict[tuple[int, ...], int]:
        """From a prompt's tokens to its number."""
        return {token_ids(self.tokenizer, p.messages): p.step for p in self.prompts}

    def count(self, steps: Sequence[int], completions: Sequence[Sequence[int]]) -> None:
        """Count a batch of completions, given with the number of each one's prompt."""
        made = sum(_length(ids, self.tokenizer.eos_token_id) for ids in completions)
        read = sum(len(token_ids(self.tokenizer, self.prompts[i].messages)) for i in steps)
        self.counts.samples += len(steps)
        self.counts.generated_tokens += made
        self.counts.trained_tokens += read + made
        self.counts.prompt_iterations += len(set(steps))

    def asked(self, calls: int, since: float) -> None:
        """Count judge calls and the time that they held the trainer up."""
        self.counts.judge_calls += calls
        self.counts.judge_wait_seconds += time.perf_counter() - since


class ClockAfterWarmUp(TrainerCallback):  # type: ignore[misc]  # the library is untyped
    """Starts the clock, and counting, when the first optimizer step is done."""

    def __init__(self, watch: Stopwatch, setting: Setting, keyed: KeyedLengths) -> None:
        self._watch = watch
        self._setting = setting
        self._keyed = keyed

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_others: Any) -> None:
        """Called by the trainer."""
        if state.global_step == 1:
            self._setting.counts = Counts()
            self._keyed.forget()
            self._watch.start()


def require_trl() -> None:
    """Say what is missing before anything is built.

    Raises:
        UnavailableError: TRL or a package it needs is not installed.
    """
    missing = [name for name in ("trl", "datasets") if importlib.util.find_spec(name) is None]
    if missing:
        raise UnavailableError(f"not installed: {', '.join(missing)}; they come with extra `bench`")


def prepare(workload: Workload, judge_url: str) -> Setting:
    """Build model, tokenizer and prompts."""
    model, tokenizer = build_for(workload)
    tokenizer.padding_side = "left"
    prompts = prompts_for(workload, tokenizer)
    return Setting(workload, model, tokenizer, prompts, JudgeClient(judge_url))


def rows(setting: Setting, per_step: int, epochs: int) -> Any:
    """The data in the order of training: one step of warm-up, then all prompts, `epochs` times."""
    from datasets import Dataset  # noqa: PLC0415 - an extra

    order = setting.prompts[:per_step] + setting.prompts * epochs
    return Dataset.from_dict(
        {
            "prompt": [rendered(setting.tokenizer, prompt.messages) for prompt in order],
            "step": [prompt.step for prompt in order],
        }
    )


def arguments(workload: Workload) -> dict[str, Any]:
    """Arguments of any of the trainers: AdamW at a constant rate, no checkpointing, no files."""
    return {
        "output_dir": tempfile.gettempdir(),
        "learning_rate": workload.lr,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "num_train_epochs": 1,
        "seed": workload.seed,
        "bf16": workload.precision == "bfloat16",
        "use_cpu": workload.device == "cpu",
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "train_sampling_strategy": "sequential",
        "save_strategy": "no",
        "report_to": "none",
        "logging_steps": NEVER,
        "disable_tqdm": True,
    }


def adapters(workload: Workload) -> Any:
    """The service's own LoRA settings; None where all weights are trained."""
    if workload.tuning == "full":
        return None
    return LoraConfig(
        r=workload.lora_rank,
        lora_alpha=2.0 * workload.lora_rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


def timed(system: str, trainer: Any, setting: Setting, notes: tuple[str, ...] = ()) -> Measured:
    """Train, the first step as warm-up, and say what the rest took."""
    watch = Stopwatch(setting.workload.device)
    keyed = KeyedLengths(setting.workload, setting.places, trainer.eos_token_ids)
    force_lengths(trainer.model, keyed)
    trainer.add_callback(ClockAfterWarmUp(watch, setting, keyed))
    trainer.train()
    watch.stop()
    counts: Mapping[str, Any] = vars(setting.counts)
    return watch.measured(
        system, optimizer_steps=trainer.state.global_step - 1, notes=notes, **counts
    )


def rewards(ranking: Sequence[int]) -> list[float]:
    """The best of n gets n - 1, the worst 0, in the order of the candidates."""
    return [float(len(ranking) - 1 - ranking.index(k)) for k in range(len(ranking))]


def _length(ids: Sequence[int], end_id: int) -> int:
    """Tokens up to the end token, which counts; what follows is padding."""
    return list(ids).index(end_id) + 1 if end_id in ids else len(ids)
