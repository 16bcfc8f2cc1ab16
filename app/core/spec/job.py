"""A job as a user asks for it."""

from typing import Annotated, Literal

from pydantic import Field

from app.core.spec.base import Label, Metadata, Seed, Spec
from app.core.spec.budget import BudgetSpec, Deadline
from app.core.spec.health import HealthSpec
from app.core.spec.method import MethodSpec

DatasetId = Annotated[str, Field(pattern=r"^ds_[0-9a-z]{26}$")]
JobId = Annotated[str, Field(pattern=r"^job_[0-9a-z]{26}$")]
CheckpointId = Annotated[str, Field(pattern=r"^ckpt_[0-9a-z]{26}$")]
Beta = Annotated[float, Field(ge=0, lt=1)]
EntryName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._/-]{0,119}$")]


class Lora(Spec):
    """Low-rank adapters on every linear layer but the head; the base stays frozen."""

    type: Literal["lora"] = "lora"
    rank: int = Field(default=16, ge=1, le=512)
    alpha: float = Field(default=32.0, gt=0, le=4096)


class Full(Spec):
    """All weights are trained."""

    type: Literal["full"] = "full"


class ModelSpec(Spec):
    """The white box, by its name in the operator's catalogue."""

    name: EntryName
    checkpoint: CheckpointId | None = Field(
        default=None,
        description="A checkpoint of any job on this model, whose weights are the start in place "
        "of the catalogue's. The optimizer starts anew.",
    )
    tuning: Annotated[Lora | Full, Field(discriminator="type")] = Lora()
    precision: Literal["float32", "bfloat16"] = "float32"


class JudgeSpec(Spec):
    """The black box: by its name in the operator's catalogue, or a reward model of one's own."""

    name: EntryName | None = None
    checkpoint: CheckpointId | None = Field(
        default=None, description="The final checkpoint of a `reward_model` job."
    )

    @property
    def known_as(self) -> str:
        """What rows and messages call it."""
        return self.name or str(self.checkpoint)


class JobJudgeSpec(JudgeSpec):
    """The judge of a job, and how it is asked."""

    orders: int = Field(
        default=1,
        ge=1,
        le=16,
        description="Presentation orders in which `cyclealign` asks for each ranking: cyclic "
        "shifts, whose verdicts are added up by Borda's count. At most `method.candidates`; where "
        "equal responses leave fewer to rank, one for each of these.",
    )


class SampleSpec(Spec):
    """A seeded choice of rows: `n` in all, or `n` of every subset when `per_subset` is set."""

    n: int = Field(ge=1, le=1_000_000)
    seed: Seed = 0
    per_subset: bool = False


class PromptsSpec(Spec):
    """Which rows of a dataset the run works on, in order.

    Prompts for `cyclealign`, preferences for `ranking` and `reward_model`, either preferences or
    dialogues for `sft`.
    """

    dataset: DatasetId
    sample: SampleSpec | None = None


class HeldOutSpec(PromptsSpec):
    """Prompts that train nothing: the judge scores samples for them before and after."""

    samples_per_prompt: int = Field(default=2, ge=1, le=16)


class DemonstrationsSpec(Spec):
    """Static demonstrations: the first `n` rows of a dataset of kind `demonstrations`."""

    dataset: DatasetId
    n: int = Field(default=1, ge=1, le=32)


class GenerationSpec(Spec):
    """How the white box is sampled."""

    temperature: float = Field(default=1.0, gt=0, le=5)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_new_tokens: int = Field(default=128, ge=1, le=8192)
    max_length: int = Field(
        default=512,
        ge=16,
        le=131_072,
        description="Prompt and response together; longer prompts are cut from the left.",
    )
    sampler: Literal["batched", "generate", "continuous", "vllm"] = Field(
        default="batched",
        description="What computes the samples: the engine's own batches (`generate` stands in for "
        "models they cannot run), `transformers` generate, its continuous batching, or vLLM, "
        "which needs a GPU.",
    )


class EngineSpec(Spec):
    """How the white box is computed; none of it changes what is learnt but in the last bits.

    Bit-equality with the serial loop needs `shared_prompt: off`, float32 and a scoring pass.
    """

    shared_prompt: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Whether a prompt is computed once for all its responses in learning; `auto` "
        "does where that saves enough.",
    )
    batch_tokens: int = Field(
        default=16_384, ge=16, le=10_000_000, description="Padded tokens in one training pass."
    )
    checkpointing: bool = Field(
        default=False,
        description="Compute activations anew for the backward pass: slower, in less memory.",
    )
    merged_sampling: bool = Field(
        default=True,
        description="Under LoRA and float32, sample from a second copy of the adapted weights "
        "with the adapters added in: faster, and needs their memory again.",
    )
    packed_weights: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Under LoRA and on a CPU, hold the frozen weights twice more, laid out for "
        "fast products in either direction. `auto` does on CPUs that are not Intel's, where it "
        "pays; on Intel's it joins those that read one input, in a copy. Nothing on a GPU.",
    )
    kernels: Literal["auto", "off"] = Field(
        default="auto",
        description="Whether kernels in C compute what they can of the model, where installing "
        "made them and the CPU has AVX-512; results differ in the last bits. They need "
        "`packed_weights` on or auto.",
    )
    ranks: int = Field(
        default=1, ge=1, le=64, description="Processes, each on a GPU of its own if there are any."
    )
    zero: Literal[2, 3] | None = Field(
        default=None,
        description="What the ranks share out: 2 gradients and the optimizer's state, 3 the "
        "weights too.",
    )
    offload_optimizer: bool = Field(
        default=False, description="Keep the optimizer's state in the CPU's memory; needs `zero`."
    )


class OptimizerSpec(Spec):
    """AdamW or SGD with an optional warm-up and decay, and clipping of the gradient's norm."""

    type: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(default=5e-5, gt=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    # A JSON array is a list to pydantic, so the tuple itself may not be strict.
    betas: Annotated[tuple[Beta, Beta], Field(strict=False)] = (0.9, 0.999)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_updates: int = Field(default=0, ge=0, le=1_000_000)
    clip: float | None = Field(default=1.0, gt=0, le=1e6)


class CheckpointsSpec(Spec):
    """How often a checkpoint is taken, and how many are kept: the last `keep`, and the best one."""

    every_rounds: int = Field(default=10, ge=1, le=1_000_000)
    keep: int = Field(default=2, ge=1, le=1000)


class JobSpec(Spec):
    """One alignment job."""

    name: Label = "alignment"
    preset: Literal["paper"] | None = Field(
        default=None, description="`paper` pins every value that CycleAlign's paper states."
    )
    model: ModelSpec
    judge: JobJudgeSpec | None = Field(
        default=None,
        description="Needed by `cyclealign`; of the other methods only to score held-out prompts.",
    )
    prompts: PromptsSpec
    held_out: HeldOutSpec | None = None
    demonstrations: DemonstrationsSpec | Literal["builtin", "none"] = Field(
        default="builtin",
        description="Static demonstrations of the judge's prompt; `none` is the paper's w/o ICL "
        "when dynamic demonstrations are off too.",
    )
    method: MethodSpec
    generation: GenerationSpec = GenerationSpec()
    optimizer: OptimizerSpec = OptimizerSpec()
    engine: EngineSpec = EngineSpec()
    checkpoints: CheckpointsSpec = CheckpointsSpec()
    health: HealthSpec = HealthSpec()
    budget: BudgetSpec = BudgetSpec()
    deadline_at: Deadline | None = Field(
        default=None, description="A job that has not ended by then fails, with what it has kept."
    )
    seed: Seed = 0
    metadata: Metadata = Field(default_factory=dict)
