"""Which budgets and deadlines can hold for a job."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from app.core.errors import FaultAt
from app.core.spec.budget import BudgetSpec
from app.core.spec.catalogue import JudgeEntry, OpenAiJudge
from app.services.consistency import inconsistent


def budget_faults(budget: BudgetSpec, judges: Sequence[JudgeEntry]) -> Iterator[FaultAt]:
    """Yield the caps that could have no effect, and a cap in money that cannot be reckoned."""
    caps = ("max_judge_cost", "max_judge_tokens", "max_judge_calls")
    if not judges:
        for name in caps:
            if getattr(budget, name) is not None:
                message = f"'budget.{name}' could have no effect: no judge is asked."
                yield inconsistent(("budget", name), message)
    elif budget.max_judge_cost is not None:
        yield from _money_faults([one for one in judges if isinstance(one, OpenAiJudge)])


def _money_faults(endpoints: Sequence[OpenAiJudge]) -> Iterator[FaultAt]:
    path = ("budget", "max_judge_cost")
    if any(one.price is None for one in endpoints):
        yield inconsistent(
            path,
            "The catalogue knows no price of the judge, so its cost cannot be reckoned. Cap "
            "'budget.max_judge_tokens' or 'budget.max_judge_calls' instead.",
        )
    if len({one.price.currency for one in endpoints if one.price}) > 1:
        yield inconsistent(path, "The judges' prices are in different currencies.")


def deadline_faults(deadline_at: datetime | None, now: datetime) -> Iterator[FaultAt]:
    """Yield a deadline that has passed."""
    if deadline_at is not None and deadline_at <= now:
        yield FaultAt("deadline_passed", "This moment has passed.", "/deadline_at")
