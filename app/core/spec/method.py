"""The methods a job may name."""

from typing import Annotated, Literal

from pydantic import Field

from app.core.spec.base import Spec
from app.core.spec.objectives import CycleObjective, Pro, RankingObjective, ScoredPro


class CycleAlign(Spec):
    """The cycle of arXiv 2310.16271; the paper's ablations are values of these fields."""

    type: Literal["cyclealign"] = "cyclealign"
    objective: CycleObjective = Pro()
    iterations: int = Field(default=5, ge=1, le=50, description="N: most iterations a prompt.")
    candidates: int = Field(default=3, ge=2, le=16, description="Responses sampled an iteration.")
    concurrency: int = Field(
        default=8, ge=1, le=256, description="Prompts in flight (lanes); 1 is the paper's loop."
    )
    update: Literal["per_prompt", "per_round"] = Field(
        default="per_prompt",
        description="One optimizer step for each prompt of a round, or one for the mean of all.",
    )
    staleness: Literal[0, 1] = Field(
        default=0,
        description="Rounds that responses may wait for a slow judge before they are learnt from; "
        "with 1 half of the lanes are sampled while the other half is judged.",
    )
    teacher: Literal["auto", "on", "off"] = Field(
        default="auto", description="Whether the judge also writes a better response."
    )
    dynamic_demonstrations: Literal["agreement", "black_box", "white_box", "none"] = Field(
        default="agreement",
        description="What an iteration adds to the judge's prompt: the agreement, the whole "
        "black-box ranking (w/o WRD), the whole white-box ranking (w/o BRD), or nothing (w/o D2).",
    )
    judge_noise: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the judge's rankings that give way to random orders, to see what a "
        "worse judge does; what is replaced follows from the seed. With several of `judge.orders` "
        "it is the ranking that they come to.",
    )
    belief: Literal["sampling", "scoring"] = Field(
        default="sampling",
        description="Where the white box's ranking comes from: the logits of sampling, or a "
        "scoring pass of its own (the bit-exact profile).",
    )


class Offline(Spec):
    """What methods on uploaded responses share: epochs over rows, in an order drawn anew each."""

    epochs: int = Field(default=1, ge=1, le=100)
    concurrency: int = Field(default=8, ge=1, le=1024, description="Rows of one round.")
    update: Literal["per_prompt", "per_round"] = Field(
        default="per_prompt",
        description="One optimizer step for each row, or one for the mean of a round's rows.",
    )


class Ranking(Offline):
    """A baseline: learn from uploaded responses that are ranked or scored; nothing is sampled."""

    type: Literal["ranking"] = "ranking"
    objective: RankingObjective = ScoredPro()


class SupervisedFineTuning(Offline):
    """A baseline: imitate the reply of every dialogue, or the best response of every ranking."""

    type: Literal["sft"] = "sft"


class RewardModel(Offline):
    """Learn a score from ranked responses; the checkpoint can judge and evaluate."""

    type: Literal["reward_model"] = "reward_model"
    validation_share: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Share of the prompts that train nothing: accuracy is measured on them. Rows "
        "with the same prompt stay together.",
    )


OfflineMethod = Ranking | SupervisedFineTuning | RewardModel
MethodSpec = Annotated[
    CycleAlign | Ranking | SupervisedFineTuning | RewardModel, Field(discriminator="type")
]
