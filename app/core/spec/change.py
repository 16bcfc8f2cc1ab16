"""What a user may change of a job that was submitted."""

from pydantic import Field

from app.core.spec.base import Label, Metadata, Spec
from app.core.spec.budget import BudgetSpec, Deadline


class JobChange(Spec):
    """Fields that are left out stay as they are."""

    name: Label | None = None
    metadata: Metadata | None = Field(default=None, description="In place of all that is there.")
    budget: BudgetSpec | None = Field(
        default=None,
        description="In place of all caps: one that is left out no longer binds. What was spent "
        "stays. A job that its budget had paused goes on if there is room again.",
    )
    deadline_at: Deadline | None = None
