"""What a job has used of its caps, and what calls in flight may still take; pure functions.

A budget is an object by unit, `{"judge_calls": {"cap": 1000, "spent": 12, "reserved": 3}}`, in
whole units; a cap of null does not bind. A reservation is the most that a call can take, and is
made only if `spent + reserved` then stays within the cap.
"""

from collections.abc import Mapping
from typing import Any

from app.core.errors import BudgetReached

COST, TOKENS, CALLS, COMPUTE = "judge_cost_micros", "judge_tokens", "judge_calls", "compute_micros"
UNITS = (COST, TOKENS, CALLS, COMPUTE)

RAISED = "budget_raised"
"""The error of a job that still pauses for its budget, and goes on by itself after that."""
USED_UP = {
    "code": BudgetReached.default_code,
    "detail": "The raised budget was used up before the job had paused. Raise it to go on.",
}

Budget = Mapping[str, Mapping[str, Any]]
Amounts = Mapping[str, int]


def new_budget(caps: Amounts) -> dict[str, Any]:
    """Begin with nothing spent."""
    return {unit: {"cap": caps.get(unit), "spent": 0, "reserved": 0} for unit in UNITS}


def recapped(budget: Budget, caps: Amounts) -> dict[str, Any]:
    """Put other caps in place of all; what was spent stays."""
    return {unit: {**line, "cap": caps.get(unit)} for unit, line in budget.items()}


def reserve(budget: Budget, wanted: Amounts) -> dict[str, Any]:
    """Set aside the most that a call can take.

    Raises:
        BudgetReached: it does not fit.
    """
    for unit, amount in wanted.items():
        rest = left(budget, unit)
        if rest is not None and amount > rest:
            raise _reached(unit, budget[unit], amount)
    return _moved(budget, {unit: (0, amount) for unit, amount in wanted.items()})


def settle(budget: Budget, reserved: Amounts, used: Amounts) -> dict[str, Any]:
    """Put what was used in place of what was set aside for it."""
    return _moved(
        budget, {unit: (used.get(unit, 0), -reserved.get(unit, 0)) for unit in {*reserved, *used}}
    )


def write_off(budget: Budget) -> dict[str, Any]:
    """Count as spent all that is still set aside: its calls may have been charged."""
    return _moved(
        budget, {unit: (line["reserved"], -line["reserved"]) for unit, line in budget.items()}
    )


def left(budget: Budget, unit: str) -> int | None:
    """Return what is neither spent nor reserved; None where nothing binds."""
    line = budget[unit]
    return None if line["cap"] is None else int(line["cap"] - line["spent"] - line["reserved"])


def has_room(budget: Budget) -> bool:
    """Whether every unit has something left."""
    return all((rest := left(budget, unit)) is None or rest > 0 for unit in UNITS)


def _reached(unit: str, line: Mapping[str, Any], wanted: int) -> BudgetReached:
    return BudgetReached(
        f"The next call may take {wanted} of {unit}; of {line['cap']}, {line['spent']} are spent "
        f"and {line['reserved']} reserved. Raise the job's budget to let it go on.",
        facts={"passing": line["spent"] + wanted <= line["cap"]},
    )


def _moved(budget: Budget, changes: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Add to what is spent and to what is reserved."""
    lines = {unit: dict(line) for unit, line in budget.items()}
    for unit, (spent, reserved) in changes.items():
        lines[unit]["spent"] += spent
        lines[unit]["reserved"] += reserved
    return lines
