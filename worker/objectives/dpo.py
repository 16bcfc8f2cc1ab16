"""Direct Preference Optimization (Rafailov et al. 2023), for pairs and for whole rankings."""

from dataclasses import dataclass
from typing import ClassVar

from worker.objectives.pro import plackett_luce
from worker.objectives.types import LossOutput, RankedValues, combine, fixed


@dataclass(frozen=True)
class Dpo:
    """The likelihood of the ranking under the implicit reward beta log(pi / pi_ref).

    Log-probabilities are sums over tokens here. For a pair this is eq. 7 of the paper, for longer
    rankings its Plackett-Luce form (appendix A.3); tied responses do not compete.
    """

    beta: float = 0.1
    weight: float = 0.0
    """Lambda of an added SFT term, a token mean; the paper has none."""
    needs_reference: ClassVar[bool] = True

    def __call__(self, ranked: RankedValues) -> LossOutput:
        """Return the mean loss over B prompts, in nats."""
        assert ranked.reference_BK is not None
        change_BK = (ranked.values_BK - ranked.reference_BK) * ranked.tokens_BK
        reward_BK = (self.beta * change_BK).masked_fill(~ranked.mask_BK, 0.0)
        return combine(ranked, plackett_luce(ranked, reward_BK), fixed(ranked, self.weight))
