"""The one shape that list-wise objectives read and answer in.

Shape key: B prompts, K candidates of a prompt, best to worst. Log-probabilities are in nats.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

Reduction = Literal["mean", "sum"]
"""Over the tokens of the SFT term's target: CycleAlign takes the mean, RRHF and PRO the sum."""


@dataclass(frozen=True)
class RankedValues:
    """Ranked responses of B prompts, ragged and with ties; what is masked may hold anything."""

    values_BK: Tensor
    """What the model makes of each response: a policy its token-mean log-probability (p_i of
    CycleAlign), a reward model its reward."""
    group_BK: Tensor
    """Integers that rise from 0 along K; equal ones are a tie."""
    mask_BK: Tensor
    """True where there is a response."""
    target_B: Tensor
    """Index along K of the response that the SFT term imitates."""
    tokens_BK: Tensor
    """How many tokens each response has, its end included."""
    scores_BK: Tensor | None = None
    """What was given as each response's score, falling along K; None where only the order is."""
    reference_BK: Tensor | None = None
    """`values_BK` under the weights before training; None where no objective needs it."""

    def cleaned(self) -> Tensor:
        """Values (B, K) with zeros under the mask, so that padding can hold anything."""
        return self.values_BK.masked_fill(~self.mask_BK, 0.0)

    def above(self) -> Tensor:
        """Booleans (B, K, K): at [b, i, j], response i of prompt b stands strictly above j."""
        higher_BKK = self.group_BK.unsqueeze(2) < self.group_BK.unsqueeze(1)
        return higher_BKK & self.mask_BK.unsqueeze(2) & self.mask_BK.unsqueeze(1)

    def below_one(self) -> Tensor:
        """Shape (B,): l - 1 for the l responses of each prompt."""
        return (self.mask_BK.sum(1) - 1).to(self.values_BK.dtype)

    def of_target(self, what_BK: Tensor) -> Tensor:
        """Shape (B,): the entry of each prompt's target."""
        return what_BK.gather(1, self.target_B.unsqueeze(1)).squeeze(1)


@dataclass(frozen=True)
class LossOutput:
    """A loss and its parts: `loss` is the mean over B of rank + weight * sft."""

    loss: Tensor
    """Scalar, to differentiate."""
    rank: Tensor
    """Scalar: the ranking term, mean over B."""
    sft: Tensor
    """Scalar: the negative log-probability of the targets, a mean or sum of tokens, mean over B."""
    weight: Tensor
    """Shape (B,): lambda of each prompt."""


class Objective(Protocol):
    """A loss over rankings."""

    @property
    def needs_reference(self) -> bool:
        """Whether it reads `reference_BK`."""
        ...

    def __call__(self, ranked: RankedValues) -> LossOutput:
        """Return the loss of B rankings, in nats."""
        ...


def combine(
    ranked: RankedValues, rank_B: Tensor, weight_B: Tensor, reduction: Reduction = "mean"
) -> LossOutput:
    """Add the SFT term, CycleAlign eqs. 1 and 2: L_rank + lambda L_sft, meaned over B.

    Args:
        ranked: the rankings.
        rank_B: the ranking term of each prompt, in nats.
        weight_B: lambda of each prompt.
        reduction: over the target's tokens.
    """
    sft_B = -ranked.of_target(ranked.cleaned())
    if reduction == "sum":
        sft_B = sft_B * ranked.of_target(ranked.tokens_BK)
    loss = (rank_B + weight_B * sft_B).mean()
    return LossOutput(loss, rank_B.mean(), sft_B.mean(), weight_B.detach())


def fixed(ranked: RankedValues, weight: float) -> Tensor:
    """Shape (B,): the same lambda for every prompt."""
    return torch.full_like(ranked.below_one(), weight)
