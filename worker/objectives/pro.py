"""Preference Ranking Optimization over an order without scores, so without a temperature.

CycleAlign eq. 4 as printed lacks the logarithm; this is the negative log of the product, as in PRO.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.objectives.types import LossOutput, RankedLogprobs, combine


@dataclass(frozen=True)
class Pro:
    """Plackett-Luce likelihood of the ranking (PRO eq. 4; CycleAlign eq. 4, corrected).

    Each response competes with all that stand strictly below it. A tied one is left out of the
    other's denominator: being likelier than an equal is neither rewarded nor punished.
    """

    weight: float | None = None
    """Lambda of the SFT term; None is (l-1)^2 for l responses."""

    def __call__(self, ranked: RankedLogprobs) -> LossOutput:
        """Return the mean loss over B prompts, in nats."""
        return combine(ranked, _pro(ranked), self.weight)


def _pro(ranked: RankedLogprobs) -> Tensor:
    """Shape (B,): sum over i of log(e^p_i + sum of e^p_j for j below i) - p_i."""
    p_BK = ranked.cleaned()
    itself_KK = torch.eye(p_BK.shape[1], dtype=torch.bool, device=p_BK.device)
    compete_BKK = ranked.above() | itself_KK
    rivals_BKK = p_BK.unsqueeze(1).masked_fill(~compete_BKK, float("-inf"))
    return (rivals_BKK.logsumexp(2) - p_BK).sum(1)
