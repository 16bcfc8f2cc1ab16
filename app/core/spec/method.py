"""The methods and objectives a job may name."""

from typing import Annotated, Literal

from pydantic import Field

from app.core.spec.base import Spec

Lambda = Annotated[float, Field(ge=0, le=10_000)]


class Pro(Spec):
    """Preference Ranking Optimization: Plackett-Luce over the ranking (CycleAlign eq. 4)."""

    type: Literal["pro"] = "pro"
    lambda_: Literal["auto"] | Lambda = Field(
        default="auto",
        alias="lambda",
        description="Weight of the SFT term; `auto` is (l-1)^2 for l ranked items.",
    )


class Rrhf(Spec):
    """Rank Responses to align Human Feedback: a hinge on every ordered pair (CycleAlign eq. 3)."""

    type: Literal["rrhf"] = "rrhf"
    lambda_: Literal["auto"] | Lambda = Field(
        default="auto",
        alias="lambda",
        description="Weight of the SFT term; `auto` is (l-1)^2 for l ranked items.",
    )


ObjectiveSpec = Annotated[Pro | Rrhf, Field(discriminator="type")]


class CycleAlign(Spec):
    """The cycle of arXiv 2310.16271; the paper's ablations are values of these fields."""

    type: Literal["cyclealign"] = "cyclealign"
    objective: ObjectiveSpec = Pro()
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
    belief: Literal["sampling", "scoring"] = Field(
        default="sampling",
        description="Where the white box's ranking comes from: the logits of sampling, or a "
        "scoring pass of its own (the bit-exact profile).",
    )


MethodSpec = CycleAlign
