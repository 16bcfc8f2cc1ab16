"""Rank Responses to align Human Feedback (Yuan et al. 2023), over an order instead of scores.

CycleAlign eq. 3 as printed has a minus sign that would reward inversions; RRHF eq. 2 has a plus.
The SFT term is a token mean (CycleAlign eq. 2), or the sum over tokens of RRHF eq. 4.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from worker.objectives.types import LossOutput, RankedValues, Reduction, combine, fixed


@dataclass(frozen=True)
class Rrhf:
    """A hinge on every ordered pair: a worse response may not be likelier, per token.

    Tied pairs are skipped.
    """

    weight: float | None = None
    """Lambda of the SFT term; None is (l-1)^2 for l responses, and RRHF's 1 for a sum of tokens."""
    reduction: Reduction = "mean"
    needs_reference: ClassVar[bool] = False

    def __call__(self, ranked: RankedValues) -> LossOutput:
        """Return the mean loss over B prompts, in nats."""
        return combine(ranked, _rrhf(ranked), self._weight(ranked), self.reduction)

    def _weight(self, ranked: RankedValues) -> Tensor:
        if self.weight is not None:
            return fixed(ranked, self.weight)
        return ranked.below_one().square() if self.reduction == "mean" else fixed(ranked, 1.0)


def _rrhf(ranked: RankedValues) -> Tensor:
    """Shape (B,): sum of max(0, p_j - p_i) over the pairs with i strictly above j."""
    p_BK = ranked.cleaned()
    excess_BKK = (p_BK.unsqueeze(1) - p_BK.unsqueeze(2)).relu()
    return (excess_BKK * ranked.above()).sum((1, 2))
