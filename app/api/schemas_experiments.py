"""The report of an experiment as users see it."""

from typing import Any, Literal

from pydantic import Field

from app.api.schemas import Out
from app.api.schemas_reports import AgreementPartOut, EstimateOut, JudgeQualityOut

Decided = Literal["better", "worse"]


class RunOut(Out):
    """One run of a row."""

    seed: int
    job_id: str
    config_sha256: str | None
    status: str
    reused: bool = Field(description="It was there before this experiment asked for it.")
    seconds: float | None = Field(description="From its first start to its end.")
    updates: int
    judge_calls: int
    cost_micros: int
    agreement: list[AgreementPartOut]
    judge: list[JudgeQualityOut]


class RowScoresOut(Out):
    """A scorer's means of a row, times 100 as the papers print them."""

    scorer: str
    total: EstimateOut
    subsets: dict[str, EstimateOut]
    by_seed: list[float | None]
    missing: int = Field(description="Prompts, over all seeds, without a score.")
    gain: EstimateOut | None = Field(description="Less the start model's, prompt by prompt.")
    gain_at_equal_length: EstimateOut | None
    decided: Decided | None = Field(
        description="Whether both gains' intervals, over seeds and prompts, exclude zero."
    )


class RowVerdictsOut(Out):
    """A judge's verdicts against the start model, both orders of every pair, over all seeds."""

    win: int
    tie: int
    lose: int
    invalid: int
    missing: int
    gain: EstimateOut = Field(description="Win rate less loss rate.")
    rate_at_equal_length: EstimateOut
    decided: Decided | None


class RowGivenOut(Out):
    """What a row makes of given rows."""

    accuracy: EstimateOut = Field(description="Share whose best response it values most.")
    change: EstimateOut | None = Field(description="Less the start model's: the alignment tax.")


class RowTextsOut(Out):
    """What the answers look like."""

    answers: int
    mean_tokens: EstimateOut
    ended: EstimateOut
    refused: EstimateOut
    distinct_2: float | None


class RowOut(Out):
    """One combination of the axes' values, over all of its seeds; or a start model."""

    label: str
    values: dict[str, str]
    config: dict[str, Any] = Field(description="What the first run's fields became.")
    runs: list[RunOut]
    seconds: float | None = Field(description="Mean of the runs that ended.")
    scores: list[RowScoresOut]
    verdicts: RowVerdictsOut | None
    given: RowGivenOut | None
    texts: RowTextsOut | None


class DifferenceOut(Out):
    """How this harness differs from the paper's."""

    what: str
    here: str
    paper: str


class ExperimentReportOut(Out):
    """What an experiment found; its rows are those of the paper's tables."""

    object: Literal["experiment_report"] = "experiment_report"
    job_id: str
    name: str
    complete: bool = Field(description="False while something is still to come.")
    prompts: int = Field(description="That every contestant answers for each seed.")
    seeds: list[int]
    scorers: list[str]
    rows: list[RowOut]
    differences: list[DifferenceOut]
