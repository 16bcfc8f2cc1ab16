"""The loss of a reward model over ranked responses: a better one should have the higher reward."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from worker.objectives.types import LossOutput, RankedValues, combine, fixed


@dataclass(frozen=True)
class PairwiseLogistic:
    """Bradley-Terry: -log sigmoid(r_i - r_j), the mean over a prompt's ordered pairs.

    Eq. 1 of InstructGPT (Ouyang et al. 2022); for one pair it is ALMoST's loss. A prompt without an
    ordered pair has none.
    """

    needs_reference: ClassVar[bool] = False

    def __call__(self, ranked: RankedValues) -> LossOutput:
        """Return the mean loss over B prompts, in nats."""
        return combine(ranked, _logistic(ranked), fixed(ranked, 0.0))


def _logistic(ranked: RankedValues) -> Tensor:
    """Shape (B,)."""
    r_BK = ranked.cleaned()
    margin_BKK = r_BK.unsqueeze(2) - r_BK.unsqueeze(1)
    above_BKK = ranked.above()
    losses_BKK = torch.nn.functional.softplus(-margin_BKK).masked_fill(~above_BKK, 0.0)
    return losses_BKK.sum((1, 2)) / above_BKK.sum((1, 2)).clamp(min=1)
