"""The library's own `generate` as a sampler: for models with windows, caps or states of their own.

The draw is ours: a processor of logits takes each row's token by its seed and leaves nothing to
chance, so that here as well which rows share a batch changes no more than the last bits.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from worker.whitebox.chat import Chat
from worker.whitebox.errors import Interrupted
from worker.whitebox.keyed import Keyed, only
from worker.whitebox.precision import arithmetic
from worker.whitebox.sample import Drawn, Generation, Row, batches, never
from worker.whitebox.score import base_of


@dataclass(frozen=True)
class GenerateSampler:
    """Samples rows with `model.generate`; every row computes its prompt anew."""

    model: Any
    chat: Chat
    generation: Generation

    def sample(
        self, rows: Sequence[Row], version: int, interrupted: Callable[[], bool] = never
    ) -> Iterator[tuple[int, Drawn]]:
        """Yield each row's index and response at the end of its batch, in the order of rows.

        Raises:
            Interrupted: `interrupted` answered true; it is asked after every token.
        """
        del version  # the weights are the model's own
        for batch in batches(rows, self.generation):
            for i, drawn in enumerate(self._batch(rows[batch], interrupted)):
                yield batch.start + i, drawn

    @torch.inference_mode()
    def _batch(self, rows: Sequence[Row], interrupted: Callable[[], bool]) -> list[Drawn]:
        model = base_of(self.model)
        keyed = Keyed(rows, self.chat, self.generation, model.device)
        with arithmetic(model, self.generation.precision), _plain_settings(model):
            model.generate(
                **_padded(rows, model.device),
                max_new_tokens=self.generation.max_new_tokens,
                pad_token_id=0,
                logits_processor=LogitsProcessorList([_Draws(keyed)]),
                stopping_criteria=StoppingCriteriaList([_Stops(keyed, interrupted)]),
            )
        return keyed.drawn


def _padded(rows: Sequence[Row], device: torch.device) -> dict[str, Tensor]:
    """The prompts with padding on the left, and where they are not padding, both (R, T)."""
    width = max(len(row.prompt) for row in rows)
    tokens = [[0] * (width - len(row.prompt)) + list(row.prompt) for row in rows]
    mask = [[0] * (width - len(row.prompt)) + [1] * len(row.prompt) for row in rows]
    return {
        "input_ids": torch.tensor(tokens, device=device),
        "attention_mask": torch.tensor(mask, device=device),
    }


@contextmanager
def _plain_settings(model: Any) -> Iterator[None]:
    """A model's own settings, such as a penalty for repetition, would alter the logits unasked."""
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


class _Draws(LogitsProcessor):  # type: ignore[misc]  # the library has no types here
    """Leaves the drawn token as the only one possible."""

    def __init__(self, keyed: Keyed) -> None:
        self._keyed = keyed

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Raw logits in, one finite place a row out, both (R, V)."""
        return only(self._keyed.take(range(len(input_ids)), scores.float()), scores)


class _Stops(StoppingCriteria):  # type: ignore[misc]  # as above
    """Stops as soon as every response is complete, or raises when the caller asks to stop."""

    def __init__(self, keyed: Keyed, interrupted: Callable[[], bool]) -> None:
        self._keyed = keyed
        self._interrupted = interrupted

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: object) -> Tensor:
        """Say of each row (R,) whether it is complete."""
        del scores
        if self._interrupted():
            raise Interrupted("sampling was interrupted")
        complete = [self._keyed.complete(row) for row in range(len(input_ids))]
        return torch.tensor(complete, device=input_ids.device)
