"""What a run watches of itself, and what it does when a figure goes too far."""

from typing import Annotated, Literal

from pydantic import Field

from app.core.spec.base import Spec

Share = Annotated[float, Field(gt=0, le=1)]


class HealthSpec(Spec):
    """Alarms of a `cyclealign` run; a threshold of null never alarms."""

    action: Literal["note", "pause", "stop"] = Field(
        default="note",
        description="`note` logs an event; `pause` also pauses the job at the end of the round; "
        "`stop` ends it as failed, with the checkpoints that it has.",
    )
    window: int = Field(
        default=16, ge=2, le=10_000, description="Iterations compared with as many at the start."
    )
    length: Annotated[float, Field(gt=1, le=1000)] | None = Field(
        default=2.0, description="Mean length of answers against the start, longer or shorter."
    )
    equal: Share | None = Field(
        default=0.5, description="Share of answers equal to another of their prompt, or empty."
    )
    diversity: Share | None = Field(
        default=0.5, description="Distinct pairs of words against the start; alarms below."
    )
    phrase: Share | None = Field(
        default=0.8, description="Share of answers with one word that was rare at the start."
    )
    kl: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        default=2.0,
        description="Distance from the start model in nats a token. Measured on one iteration in "
        "`kl_every`, under LoRA alone: with full tuning the start model is not kept.",
    )
    kl_every: int = Field(default=10, ge=1, le=1_000_000)
    skipped: Share | None = Field(default=0.5, description="Share of iterations without an update.")
