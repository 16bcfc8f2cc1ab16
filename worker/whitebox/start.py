"""The model as it was before training, which some objectives and the health figures compare with.

Under adapters it is the same weights without them, or with those that a checkpoint had; with full
tuning it is a copy, held beside the model: as much memory again.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

from worker.whitebox.adapters import at_start
from worker.whitebox.score import Scorer
from worker.whitebox.strips import Texts


@dataclass(frozen=True)
class Start:
    """How the start model is asked; `copy` is None under adapters."""

    copy: Scorer | None = None

    def values(self, scorer: Scorer, texts: Sequence[Texts]) -> list[list[float]]:
        """Token-mean log-probabilities under the start model, in nats.

        Args:
            scorer: that of the model in training.
            texts: prompts and responses.
        """
        if self.copy is not None:
            return self.copy.values(texts)
        with at_start(scorer.model):
            return scorer.values(texts)


def adapters_start(scorer: Scorer) -> Start | None:
    """The start model of a model with adapters, which costs nothing to keep; else None."""
    return Start() if hasattr(scorer.model, "disable_adapter") else None


def start_of(scorer: Scorer) -> Start:
    """Keep the start model; to be called before anything is learnt."""
    if (free := adapters_start(scorer)) is not None:
        return free
    still = copy.deepcopy(scorer.model).requires_grad_(requires_grad=False)
    return Start(replace(scorer, model=still, checkpointing=False))
