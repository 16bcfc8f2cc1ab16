"""The losses that a job may name."""

from typing import Annotated, Literal

from pydantic import Field

from app.core.spec.base import Spec

Lambda = Annotated[float, Field(ge=0, le=10_000)]
Reduction = Literal["mean", "sum"]

_AUTO = "Weight of the SFT term; `auto` is (l-1)^2 for l ranked items."
_REDUCTION = (
    "Whether the SFT term is the mean over its tokens, as CycleAlign has it, or the sum, as "
    "PRO and RRHF have it."
)


class Pro(Spec):
    """Preference Ranking Optimization: Plackett-Luce over the ranking (CycleAlign eq. 4)."""

    type: Literal["pro"] = "pro"
    lambda_: Literal["auto"] | Lambda = Field(default="auto", alias="lambda", description=_AUTO)


class Rrhf(Spec):
    """Rank Responses to align Human Feedback: a hinge on every ordered pair (CycleAlign eq. 3)."""

    type: Literal["rrhf"] = "rrhf"
    lambda_: Literal["auto"] | Lambda = Field(default="auto", alias="lambda", description=_AUTO)


class ScoredPro(Pro):
    """PRO on data that may have scores; they set its temperatures (PRO eqs. 7 to 9)."""

    lambda_: Literal["auto"] | Lambda = Field(
        default="auto", alias="lambda", description=f"{_AUTO} For a sum it is 0.05 of that."
    )
    sft: Reduction = Field(default="mean", description=_REDUCTION)
    temperature: Literal["auto", "none"] = Field(
        default="auto", description="`auto` uses the scores of rows that have them."
    )


class SummedRrhf(Rrhf):
    """RRHF on given data, with the SFT term of either paper."""

    lambda_: Literal["auto"] | Lambda = Field(
        default="auto", alias="lambda", description=f"{_AUTO} For a sum it is 1."
    )
    sft: Reduction = Field(default="mean", description=_REDUCTION)


class Dpo(Spec):
    """Direct Preference Optimization; longer rankings by its Plackett-Luce form."""

    type: Literal["dpo"] = "dpo"
    beta: float = Field(default=0.1, gt=0, le=100)
    lambda_: Lambda = Field(
        default=0.0, alias="lambda", description="Weight of an added SFT term; the paper has none."
    )


class Sft(Spec):
    """The best response of each row is imitated."""

    type: Literal["sft"] = "sft"


class PairwiseLogistic(Spec):
    """The loss of a reward model: -log sigmoid of the difference, over all ordered pairs."""

    type: Literal["pairwise_logistic"] = "pairwise_logistic"


CycleObjective = Annotated[Pro | Rrhf, Field(discriminator="type")]
RankingObjective = Annotated[ScoredPro | SummedRrhf | Dpo | Sft, Field(discriminator="type")]
ObjectiveSpec = Pro | Rrhf | Dpo | Sft | PairwiseLogistic
"""All of them."""
