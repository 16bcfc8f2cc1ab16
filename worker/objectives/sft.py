"""Supervised fine-tuning: the target of each ranking is imitated, and nothing else is learnt."""

from dataclasses import dataclass
from typing import ClassVar

from worker.objectives.types import LossOutput, RankedValues, combine, fixed


@dataclass(frozen=True)
class Sft:
    """The negative token-mean log-probability of the best response (CycleAlign eq. 2)."""

    needs_reference: ClassVar[bool] = False

    def __call__(self, ranked: RankedValues) -> LossOutput:
        """Return the mean loss over B prompts, in nats."""
        nothing_B = ranked.cleaned().sum(1) * 0.0
        return combine(ranked, nothing_B, fixed(ranked, 1.0))
