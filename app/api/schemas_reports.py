"""The reports of finished jobs as users see them."""

from typing import Literal

from pydantic import Field

from app.api.schemas import Out


class EstimateOut(Out):
    """A number with its 95 % interval; all three are null where there was nothing to measure."""

    value: float | None
    low: float | None
    high: float | None
    n: int = Field(description="Items that it rests on.")


class GapAccuracyOut(Out):
    """Accuracy on pairs whose lengths differ by so many characters."""

    low: int
    high: int | None
    accuracy: EstimateOut
    length_only: EstimateOut


class BinOut(Out):
    """Pairs by the probability that the reward model gives the text it prefers."""

    low: float
    high: float
    n: int
    confidence: float
    right: float = Field(description="Share of them in which that text was the better one.")


class RewardReportOut(Out):
    """How well a reward model orders pairs that it never trained on."""

    object: Literal["reward_model_report"] = "reward_model_report"
    job_id: str
    pairs: int
    trained_rows: int
    accuracy: EstimateOut
    untrained: EstimateOut = Field(description="The same model before it learnt anything.")
    length_only: EstimateOut = Field(description="A rule that looks at the lengths alone.")
    length_prefers: Literal["longer", "shorter"] = Field(
        description="What that rule prefers: what was right more often on the training rows."
    )
    above_length_only: EstimateOut = Field(description="`accuracy` less `length_only`.")
    by_length_gap: list[GapAccuracyOut]
    calibration_error: float | None = Field(description="Expected calibration error.")
    calibration: list[BinOut]
