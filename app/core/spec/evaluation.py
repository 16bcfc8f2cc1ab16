"""An evaluation as a user asks for it."""

from typing import Annotated, Literal

from pydantic import Field

from app.core.spec.base import Label, Metadata, Seed, Spec
from app.core.spec.budget import BudgetSpec, Deadline
from app.core.spec.job import (
    CheckpointId,
    DatasetId,
    EntryName,
    GenerationSpec,
    JobId,
    JudgeSpec,
    PromptsSpec,
)

LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._/,()=+ -]{0,63}$")]


class ExamplesSpec(Spec):
    """Example dialogues for `icl`: the first `n` rows of a dataset of kind `dialogues`."""

    dataset: DatasetId
    n: int = Field(default=2, ge=1, le=32)


class GivenSpec(PromptsSpec):
    """Given responses, and how a contestant tells which it values."""

    form: Literal["likelihood", "letters"] = Field(
        default="likelihood",
        description="By the token-mean log-probability of each response, or by those of the "
        "letters under which all of them are shown, each in every place once, as ALMoST does for "
        "Static HHH. Letters need `preferences`.",
    )


class ContestantSpec(Spec):
    """A model of the catalogue, a checkpoint or an endpoint, and how it is prompted.

    Reward models answer nothing, so they can only be asked about `given` responses; endpoints tell
    no probabilities, so they can only answer.
    """

    label: LabelName
    model: EntryName | None = None
    checkpoint: CheckpointId | None = Field(
        default=None, description="The final checkpoint of a job."
    )
    endpoint: EntryName | None = Field(
        default=None,
        description="A judge of the catalogue of type `openai` that answers instead of judging, "
        "with the entry's own temperature and number of tokens.",
    )
    strategy: Literal["zero_shot", "icl", "cot"] = Field(
        default="zero_shot",
        description="The prompt as it is, after examples, or with the request to think first.",
    )
    examples: ExamplesSpec | None = Field(default=None, description="Needed by `icl` alone.")


class PairwiseSpec(Spec):
    """Answers compared two by two, each pair in both orders."""

    judge: JudgeSpec
    form: Literal["compare", "rate"] = Field(
        default="compare",
        description="Ask for a verdict, or for a score from 1 to 10 each, as for Vicuna.",
    )
    baseline: LabelName | None = Field(
        default=None, description="Compare every other one with this one; else all with all."
    )


class ConsistencySpec(Spec):
    """How steady the judge of a judged run is: some of its questions are asked again.

    Once as they were, which shows chance, and once with the responses in reverse, which shows
    whether their places matter.
    """

    n: int = Field(default=50, ge=1, le=100_000, description="Questions; all if there are fewer.")


Rater = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._@-]{0,63}$")]


class VoteSpec(Spec):
    """A person's verdict on a ballot."""

    rater: Rater
    step: int = Field(ge=0, le=2**31 - 1)
    pair: int = Field(ge=0, le=2**31 - 1)
    verdict: Literal["first", "second", "tie"]


class EvaluationSpec(Spec):
    """Contestants that answer the same prompts, scored and compared."""

    name: Label = "evaluation"
    prompts: PromptsSpec | None = Field(
        default=None, description="What the contestants answer; a dataset of kind `prompts`."
    )
    given: GivenSpec | None = Field(
        default=None,
        description="Responses whose probabilities the contestants tell, or whose rewards: "
        "`preferences`, of which the best should be the likeliest, or `dialogues`.",
    )
    judged: JobId | None = Field(
        default=None,
        description="A `cyclealign` job whose judge is compared with the scorers: every ranking "
        "that it gave, beside theirs of the same responses.",
    )
    consistency: ConsistencySpec | None = Field(
        default=None, description="Needs `judged`. Each question costs two calls to its judge."
    )
    contestants: Annotated[list[ContestantSpec], Field(max_length=16)] = Field(default_factory=list)
    scorers: Annotated[list[JudgeSpec], Field(max_length=8)] = Field(default_factory=list)
    pairwise: PairwiseSpec | None = None
    samples_per_prompt: int = Field(default=1, ge=1, le=16)
    generation: GenerationSpec = GenerationSpec()
    budget: BudgetSpec = BudgetSpec()
    deadline_at: Deadline | None = Field(
        default=None, description="An evaluation that has not ended by then fails."
    )
    seed: Seed = 0
    metadata: Metadata = Field(default_factory=dict)
