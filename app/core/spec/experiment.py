"""An experiment as a user asks for it: a job, what is varied of it, and how runs are compared."""

from typing import Annotated, Any

from pydantic import Field

from app.core.spec.base import Label, Metadata, Seed, Spec
from app.core.spec.evaluation import GivenSpec, LabelName
from app.core.spec.job import GenerationSpec, JobSpec, JudgeSpec, PromptsSpec

FieldPointer = Annotated[str, Field(pattern=r"^(/[A-Za-z_]+)+$", max_length=120)]


class ValueSpec(Spec):
    """One value of an axis: which fields of the base job it replaces, each whole."""

    label: LabelName
    set: dict[FieldPointer, Any] = Field(
        default_factory=dict,
        description="JSON pointers into the job, such as `/method/iterations`, and their values.",
    )


class AxisSpec(Spec):
    """What is varied."""

    name: LabelName
    values: Annotated[list[ValueSpec], Field(min_length=1, max_length=32)]


class VerdictsSpec(Spec):
    """Who compares each run's answers with those of the start model, in both orders."""

    judge: JudgeSpec


class ContestSpec(Spec):
    """How the runs are compared: all answer the same prompts, and so does the start model."""

    prompts: PromptsSpec
    given: GivenSpec | None = Field(
        default=None, description="Responses whose probabilities every run tells, as well."
    )
    scorers: Annotated[list[JudgeSpec], Field(max_length=8)] = Field(default_factory=list)
    pairwise: VerdictsSpec | None = None
    samples_per_prompt: int = Field(default=1, ge=1, le=16)
    generation: GenerationSpec = GenerationSpec()
    judge_quality: bool = Field(
        default=False,
        description="Also compare the judge of every `cyclealign` run with the scorers.",
    )


class ExperimentSpec(Spec):
    """Every combination of the axes' values is a row, and every seed a run of it."""

    name: Label = "experiment"
    base: JobSpec = Field(description="The job that is varied; its `seed` is replaced.")
    axes: Annotated[list[AxisSpec], Field(max_length=6)] = Field(default_factory=list)
    # A JSON array is a list to pydantic, so no set can be asked for.
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=20)] = Field(
        default_factory=lambda: [1, 2, 3]
    )
    evaluation: ContestSpec | None = None
    metadata: Metadata = Field(default_factory=dict)
