"""The one shape that list-wise objectives read and answer in.

Shape key: B prompts, K candidates of a prompt, best to worst. Log-probabilities are in nats.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class RankedLogprobs:
    """Ranked responses of B prompts, ragged and with ties; masked values are ignored."""

    logprobs_BK: Tensor
    """Token-mean log-probability of each response (CycleAlign's p_i)."""
    group_BK: Tensor
    """Integers that rise from 0 along K; equal ones are a tie."""
    mask_BK: Tensor
    """True where there is a response."""
    target_B: Tensor
    """Index along K of the response that the SFT term imitates."""

    def cleaned(self) -> Tensor:
        """Log-probabilities (B, K) with zeros under the mask, so that padding can hold anything."""
        return self.logprobs_BK.masked_fill(~self.mask_BK, 0.0)

    def above(self) -> Tensor:
        """Booleans (B, K, K): at [b, i, j], response i of prompt b stands strictly above j."""
        higher_BKK = self.group_BK.unsqueeze(2) < self.group_BK.unsqueeze(1)
        return higher_BKK & self.mask_BK.unsqueeze(2) & self.mask_BK.unsqueeze(1)


@dataclass(frozen=True)
class LossOutput:
    """A loss and its parts: `loss` is the mean over B of rank + weight * sft."""

    loss: Tensor
    """Scalar, to differentiate."""
    rank: Tensor
    """Scalar: the ranking term, mean over B."""
    sft: Tensor
    """Scalar: the negative token-mean log-probability of the targets, mean over B."""
    weight: Tensor
    """Shape (B,): lambda of each prompt."""


class Objective(Protocol):
    """A loss over rankings."""

    def __call__(self, ranked: RankedLogprobs) -> LossOutput:
        """Return the loss of B rankings, in nats."""
        ...


def combine(ranked: RankedLogprobs, rank_B: Tensor, weight: float | None) -> LossOutput:
    """Add the SFT term, CycleAlign eqs. 1 and 2: L_rank + lambda L_sft, meaned over B.

    Args:
        ranked: the rankings.
        rank_B: the ranking term of each prompt, in nats.
        weight: lambda; None is (l-1)^2 with l the responses of a prompt that are in the loss.
    """
    sft_B = -ranked.cleaned().gather(1, ranked.target_B.unsqueeze(1)).squeeze(1)
    weight_B = _auto_weight(ranked) if weight is None else torch.full_like(sft_B, weight)
    loss = (rank_B + weight_B * sft_B).mean()
    return LossOutput(loss, rank_B.mean(), sft_B.mean(), weight_B.detach())


def _auto_weight(ranked: RankedLogprobs) -> Tensor:
    """Shape (B,): (l-1)^2, so 4 for the 3 responses of CycleAlign A.5."""
    return (ranked.mask_BK.sum(1) - 1).to(ranked.logprobs_BK.dtype).square()
