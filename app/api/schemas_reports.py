"""The reports of jobs as users see them."""

from typing import Any, Literal

from pydantic import Field

from app.api.schemas import Out, Time


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


class ScoreTableOut(Out):
    """A scorer's means of one contestant, times 100 as the papers print them."""

    scorer: str
    total: EstimateOut = Field(description="Over all prompts, so that larger subsets weigh more.")
    subsets: dict[str, EstimateOut]
    missing: int = Field(description="Answers without a score.")


class GivenOut(Out):
    """What one contestant makes of given responses."""

    items: int
    missing: int
    accuracy: EstimateOut = Field(description="Share whose best response it values most.")
    subsets: dict[str, EstimateOut]
    change: EstimateOut = Field(
        description="Accuracy less that of the first contestant: its alignment tax."
    )
    perplexity: float | None = Field(description="Of the best responses, by the mean over items.")


class ContestantOut(Out):
    """What one contestant's answers look like."""

    label: str
    answers: int
    missing: int
    scores: list[ScoreTableOut]
    mean_characters: EstimateOut
    mean_tokens: EstimateOut
    ended: EstimateOut = Field(description="Share of answers that it ended by itself.")
    refused: EstimateOut = Field(description="Share that opens like a refusal; a rule of thumb.")
    distinct_1: float | None
    distinct_2: float | None
    given: GivenOut | None
    trained_on: int = Field(description="Rows of this evaluation that its weights were trained on.")


class WinsOut(Out):
    """The left contestant's record: both orders of every pair, and a winner only if it is sure."""

    win: int
    tie: int = Field(description="Pairs on which both orders agree on a tie, or disagree.")
    lose: int
    invalid: int = Field(description="Pairs of which a reply could not be read; no ties.")
    rate: EstimateOut = Field(description="Wins and half of the ties.")
    gain: EstimateOut = Field(description="Win rate less loss rate.")
    sign_test_p: float | None
    length_controlled: EstimateOut = Field(description="The win rate left at equal lengths.")
    position_consistency: float | None
    why: str = Field(description="Why there is a winner, or none.")


class PeopleOut(Out):
    """The same record by the majority of people who voted; a tie where there is no majority."""

    votes: int
    raters: int
    record: WinsOut
    alpha: float | None = Field(description="Krippendorff's alpha among people.")
    alpha_with_judge: float | None = Field(description="Of their majority and the judge.")


class DuelOut(Out):
    """Two contestants compared."""

    left: str
    right: str
    winner: str | None
    record: WinsOut
    rating_left: EstimateOut | None
    rating_right: EstimateOut | None
    people: PeopleOut | None


class AccuracyOut(Out):
    """The judge beside a scorer, over some of its rankings."""

    label: str = Field(description="The inner iteration, from 1, or the steps.")
    rankings: int
    exact: EstimateOut = Field(description="Share of rankings in exactly the scorer's order.")
    pairwise: EstimateOut = Field(description="Pairs ordered alike: (Kendall's tau + 1) / 2.")
    top: EstimateOut = Field(description="Share with the same best response.")
    exact_by_chance: float
    reward: EstimateOut = Field(description="The scorer's mean score, times 100.")


class AgreementPartOut(Out):
    """How both rankings of the run agreed, over some of its steps."""

    first_step: int
    last_step: int
    mean_iterations: float
    agreement: float
    agreement_by_chance: float


class JudgeQualityOut(Out):
    """How well a run's judge ranked, by another scorer."""

    job_id: str
    scorer: str
    by_iteration: list[AccuracyOut]
    over_steps: list[AccuracyOut] = Field(description="Of each step's last iteration.")
    delta_reward: EstimateOut = Field(
        description="Score of a step's last responses less that of its first ones."
    )
    mean_demonstrations: float | None = Field(description="Dynamic ones that a question showed.")
    agreement: list[AgreementPartOut]


class SteadinessOut(Out):
    """A judge's new rankings beside its first ones."""

    asked: int
    unreadable: int
    exact: EstimateOut = Field(description="Share in exactly the same order.")
    pairwise: EstimateOut = Field(description="Pairs ordered alike: (Kendall's tau + 1) / 2.")
    top: EstimateOut = Field(description="Share with the same best response.")


class ConsistencyOut(Out):
    """Self-consistency and position consistency of a run's judge."""

    again: SteadinessOut = Field(description="The same question, for an answer of its own.")
    reversed: SteadinessOut = Field(description="The responses in reverse.")


class EvaluationReportOut(Out):
    """What an evaluation found."""

    object: Literal["evaluation_report"] = "evaluation_report"
    job_id: str
    complete: bool = Field(description="False while something is still to come.")
    prompts: int
    contestants: list[ContestantOut]
    comparisons: list[DuelOut]
    judge: list[JudgeQualityOut]
    consistency: ConsistencyOut | None


class BallotOut(Out):
    """Two answers to compare, without their authors."""

    object: Literal["ballot"] = "ballot"
    step: int
    pair: int
    prompt: list[Any]
    first: str
    second: str
    left: int = Field(description="Pairs left for this rater, this one among them.")


class VoteOut(Out):
    """A stored vote; it does not tell whom it was for."""

    object: Literal["vote"] = "vote"
    step: int
    pair: int
    rater: str
    created_at: Time
