"""What a job may use; at a cap it pauses with everything kept."""

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field
from pydantic_core import PydanticCustomError

from app.core.spec.base import Spec

MICROS = 1_000_000
"""Parts of a currency's unit, or of a second, that are reckoned with."""


def _positive(amount: str) -> str:
    if Decimal(amount) == 0:
        raise PydanticCustomError("greater_than", "The amount should be greater than 0.")
    return amount


Money = Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,6})?$"), AfterValidator(_positive)]
# JSON has no type for moments, so the field itself may not be strict.
Deadline = Annotated[AwareDatetime, Field(strict=False)]
Count = Annotated[int, Field(ge=1, le=10**12)]


class BudgetSpec(Spec):
    """Caps that are never exceeded: what the next call may take at most must fit in what is left.

    A cap of null does not bind. Answers found in the ledger take nothing.
    """

    max_judge_cost: Money | None = Field(
        default=None,
        description='In the currency of the judge\'s price, as a decimal string such as "25.00".',
    )
    max_judge_tokens: Count | None = Field(
        default=None, description="Tokens of prompts and replies together."
    )
    max_judge_calls: Count | None = Field(
        default=None, description="Posts to the judge, repeats included."
    )
    max_compute_seconds: Annotated[float, Field(gt=0, le=1e9)] | None = Field(
        default=None,
        description="Seconds on a worker, times the ranks that the job runs on: GPU seconds where "
        "the workers have GPUs.",
    )

    def caps(self) -> dict[str, int]:
        """Return the caps that bind, in whole units: micro-units of money, tokens, calls, µs."""
        cost, seconds = self.max_judge_cost, self.max_compute_seconds
        found = {
            "judge_cost_micros": None if cost is None else int(Decimal(cost) * MICROS),
            "judge_tokens": self.max_judge_tokens,
            "judge_calls": self.max_judge_calls,
            "compute_micros": None if seconds is None else round(seconds * MICROS),
        }
        return {unit: cap for unit, cap in found.items() if cap is not None}
