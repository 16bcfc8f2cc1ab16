"""Rank Responses to align Human Feedback (Yuan et al. 2023), over an order instead of scores.

CycleAlign eq. 3 as printed has a minus sign that would reward inversions; RRHF eq. 2 has a plus.
The SFT term is a token mean (CycleAlign eq. 2), where RRHF eq. 4 sums over tokens.
"""

from dataclasses import dataclass

from torch import Tensor

from worker.objectives.types import LossOutput, RankedLogprobs, combine


@dataclass(frozen=True)
class Rrhf:
    """A hinge on every ordered pair: a worse response may not be likelier, per token.

    Tied pairs are skipped.
    """

    weight: float | None = None
    """Lambda of the SFT term; None is (l-1)^2 for l responses."""

    def __call__(self, ranked: RankedLogprobs) -> LossOutput:
        """Return the mean loss over B prompts, in nats."""
        return combine(ranked, _rrhf(ranked), self.weight)


def _rrhf(ranked: RankedLogprobs) -> Tensor:
    """Shape (B,): sum of max(0, p_j - p_i) over the pairs with i strictly above j."""
    p_BK = ranked.cleaned()
    excess_BKK = (p_BK.unsqueeze(1) - p_BK.unsqueeze(2)).relu()
    return (excess_BKK * ranked.above()).sum((1, 2))
