"""Preference Ranking Optimization: a Plackett-Luce likelihood of the ranking.

CycleAlign eq. 4 as printed lacks the logarithm; this is the negative log of the product, as in PRO.
A judge gives an order without scores, and then there is no temperature, as in CycleAlign.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from worker.objectives.types import LossOutput, RankedValues, Reduction, combine, fixed

PER_TOKEN = 0.05
"""PRO's weight of an SFT term that is a sum of tokens: 0.05 (l-1)^2."""


@dataclass(frozen=True)
class Pro:
    """Plackett-Luce likelihood of the ranking (PRO eq. 4; CycleAlign eq. 4, corrected).

    Each response competes with all that stand strictly below it. A tied one is left out of the
    other's denominator: being likelier than an equal is neither rewarded nor punished.
    """

    weight: float | None = None
    """Lambda of the SFT term; None is (l-1)^2 for l responses, 0.05 of it for a sum of tokens."""
    reduction: Reduction = "mean"
    temperature: bool = False
    """Whether scores, where there are any, set the temperatures (PRO eqs. 7 to 9)."""
    needs_reference: ClassVar[bool] = False

    def __call__(self, ranked: RankedValues) -> LossOutput:
        """Return the mean loss over B prompts, in nats."""
        scores_BK = ranked.scores_BK if self.temperature else None
        rank_B = plackett_luce(ranked, ranked.cleaned(), scores_BK)
        return combine(ranked, rank_B, self._weight(ranked), self.reduction)

    def _weight(self, ranked: RankedValues) -> Tensor:
        if self.weight is not None:
            return fixed(ranked, self.weight)
        share = 1.0 if self.reduction == "mean" else PER_TOKEN
        return share * ranked.below_one().square()


def plackett_luce(ranked: RankedValues, p_BK: Tensor, scores_BK: Tensor | None = None) -> Tensor:
    """Shape (B,): sum over k of log(e^(p_k / T_kk) + sum of e^(p_i / T_ki)) - p_k / T_kk.

    i runs over what stands strictly below k. T_ki = 1 / (r_k - r_i) and T_kk the least of them
    (PRO eqs. 7 to 9); without scores every T is 1.

    Args:
        ranked: groups and mask.
        p_BK: the values that compete.
        scores_BK: r, falling along K; tied responses are in no denominator, so a gap is above 0.
    """
    above_BKK = ranked.above()
    heat_BKK, own_BK = _heats(above_BKK, p_BK, scores_BK)
    itself_BK = p_BK * own_BK
    rivals_BKK = (p_BK.unsqueeze(1) * heat_BKK).masked_fill(~above_BKK, float("-inf"))
    competing_BKL = torch.cat([itself_BK.unsqueeze(2), rivals_BKK], 2)
    return (competing_BKL.logsumexp(2) - itself_BK).sum(1)


def _heats(above_BKK: Tensor, p_BK: Tensor, scores_BK: Tensor | None) -> tuple[Tensor, Tensor]:
    """1 / T of each pair (B, K, K) and of each response for itself (B, K)."""
    if scores_BK is None:
        return torch.ones_like(above_BKK, dtype=p_BK.dtype), torch.ones_like(p_BK)
    r_BK = scores_BK.to(p_BK.dtype)
    gap_BKK = (r_BK.unsqueeze(2) - r_BK.unsqueeze(1)).masked_fill(~above_BKK, 0.0)
    return gap_BKK, gap_BKK.amax(2)
