"""The decode loop: many prompts, several candidates each, one batch on a key-value cache.

Each distinct prompt is computed once, next to others of about its length, and its keys and values
are read once a step by all its candidates; finished rows leave the batch as soon as that saves more
than it costs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worker.whitebox.chat import Chat
from worker.whitebox.errors import Interrupted
from worker.whitebox.keyed import Keyed
from worker.whitebox.lora import sums_of
from worker.whitebox.precision import arithmetic
from worker.whitebox.prefill import prefill
from worker.whitebox.sample import Drawn, Generation, Row, batches, never
from worker.whitebox.score import base_of
from worker.whitebox.stepping import steps_for


@dataclass(frozen=True)
class BatchedSampler:
    """Samples rows in batches of our own; equal rows in equal order give equal bits."""

    model: Any
    chat: Chat
    generation: Generation

    def sample(
        self, rows: Sequence[Row], version: int, interrupted: Callable[[], bool] = never
    ) -> Iterator[tuple[int, Drawn]]:
        """Yield each row's index and response as soon as it is complete, by length, then by index.

        Raises:
            Interrupted: `interrupted` answered true; it is asked before every token.
        """
        del version  # the weights are the model's own
        for batch in batches(rows, self.generation):
            for i, drawn in self._sample_batch(rows[batch], interrupted):
                yield batch.start + i, drawn

    def _sample_batch(
        self, rows: Sequence[Row], interrupted: Callable[[], bool]
    ) -> Iterator[tuple[int, Drawn]]:
        decoding = Decoding(self.model, self.chat, rows, self.generation)
        while decoding.running:
            if interrupted():
                raise Interrupted("sampling was interrupted")
            yield from ((i, decoding.drawn[i]) for i in decoding.step())


class Decoding:
    """One batch in the middle of sampling; `drawn` grows by a token a row with every step."""

    def __init__(self, model: Any, chat: Chat, rows: Sequence[Row], generation: Generation) -> None:
        self._model = base_of(model)
        self._generation = generation
        self._device = next(model.parameters()).device
        self._keyed = Keyed(rows, chat, generation, self._device)
        self._alive = list(range(len(rows)))
        """The row of `drawn` that each row of the batch belongs to."""
        self._sums = sums_of(self._model)
        self._sums.renew()
        self._prefill(rows)

    @property
    def drawn(self) -> list[Drawn]:
        """The responses so far."""
        return self._keyed.drawn

    @property
    def running(self) -> bool:
        """Whether any response can still grow."""
        return any(not self._keyed.complete(row) for row in self._alive)

    @torch.inference_mode()
    def step(self) -> list[int]:
        """Draw the next token of every row and run the model on those that go on.

        Returns the rows that this token completed.
        """
        growing = [row for row in self._alive if not self._keyed.complete(row)]
        token_R = self._keyed.take(self._alive, self._logits_RV)
        if self.running:
            self._feed(self._compact(token_R))
        return [row for row in growing if self._keyed.complete(row)]

    @torch.inference_mode()
    def _prefill(self, rows: Sequence[Row]) -> None:
        prompts = list(dict.fromkeys(row.prompt for row in rows))
        place = {prompt: i for i, prompt in enumerate(prompts)}
        prompt_R = self._put(torch.tensor([place[row.prompt] for row in rows]))
        with self._sums.in_use(), arithmetic(self._model, self._generation.precision):
            kept, logits_PV = prefill(self._model, prompts)
        self._logits_RV = logits_PV[prompt_R]
        self._position_R = self._put(torch.tensor([len(row.prompt) for row in rows]))
        self._steps = steps_for(self._model, kept, prompt_R, self._generation.max_new_tokens)

    def _compact(self, token_R: Tensor) -> Tensor:
        keep = [i for i, row in enumerate(self._alive) if not self._keyed.complete(row)]
        finished = len(self._alive) - len(keep)
        if not finished or finished < self._steps.compact_at * len(self._alive):
            return token_R
        kept_R = self._put(torch.tensor(keep))
        self._alive = [self._alive[i] for i in keep]
        self._steps.keep(kept_R)
        self._position_R = self._position_R[kept_R]
        return token_R[kept_R]

    def _feed(self, token_R: Tensor) -> None:
        """Run the model on the new tokens; keeps the float32 logits after them, (R, V)."""
        with self._sums.in_use(), arithmetic(self._model, self._generation.precision):
            self._logits_RV = self._steps.logits(token_R, self._position_R).float()
        self._position_R = self._position_R + 1

    def _put(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device)
