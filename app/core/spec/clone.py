"""A clone as a user asks for it: what differs from the job that it is made of."""

from typing import Any

from pydantic import Field

from app.core.spec.base import Spec
from app.core.spec.job import CheckpointId


class StartSpec(Spec):
    """Where the new job starts."""

    checkpoint: CheckpointId = Field(
        description="Any checkpoint of a job on the same model; it becomes `model.checkpoint`."
    )


class CloneSpec(Spec):
    """A new job with another one's spec, changed here and there."""

    overrides: dict[str, Any] = Field(
        default_factory=dict,
        description="Fields of a job with their new values, object by object. An object of "
        "another `type` takes the place of the whole one that stood there.",
    )
    from_: StartSpec | None = Field(
        default=None,
        alias="from",
        description="Where to start; without it, where the job that is cloned was to start.",
    )
