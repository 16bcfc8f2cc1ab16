"""Forces `transformers` to end each response at its keyed length.

A logits processor forbids the end tokens before a row's length and everything else at it: one
comparison over rows and one column a step, which is nothing beside the model.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from benchmarks.workload import Workload


class EndAt(LogitsProcessor):  # type: ignore[misc]  # the library is untyped
    """Ends row r as its `lengths[r]`-th new token, and not before."""

    def __init__(self, lengths: Sequence[int], prompt_length: int, end_ids: Sequence[int]) -> None:
        self._lengths = torch.tensor(lengths)
        self._prompt_length = prompt_length
        self._end_ids = list(end_ids)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Change the logits (R, V) of the next token in place."""
        drawn = input_ids.shape[1] - self._prompt_length
        due = (self._lengths <= drawn + 1).to(scores.device)
        scores[:, self._end_ids] = -torch.inf
        if due.any():
            scores[due] = -torch.inf
            scores[due, self._end_ids[0]] = 0.0
        return scores


class KeyedLengths:
    """Finds each row's length by its prompt's tokens, its place in the call, and past calls."""

    def __init__(
        self, workload: Workload, places: Mapping[tuple[int, ...], int], end_ids: Sequence[int]
    ) -> None:
        self._workload = workload
        self._places = places
        """From a prompt's tokens to its number."""
        self._end_ids = end_ids
        self._past: Counter[int] = Counter()
        """Calls in which each prompt stood."""

    def processors(self, input_ids: Tensor, attention_mask: Tensor) -> LogitsProcessorList:
        """What ends the rows of one `generate` call as keyed."""
        lengths = self._lengths(input_ids, attention_mask)
        return LogitsProcessorList([EndAt(lengths, input_ids.shape[1], self._end_ids)])

    def forget(self) -> None:
        """Count calls from none again: what came before was warm-up."""
        self._past.clear()

    def _lengths(self, input_ids: Tensor, attention_mask: Tensor) -> list[int]:
        rows = zip(input_ids, attention_mask, strict=True)
        prompts = [self._places[tuple(ids[mask.bool()].tolist())] for ids, mask in rows]
        self._past.update(set(prompts))
        seen: Counter[int] = Counter()
        lengths = []
        for prompt in prompts:
            lengths.append(self._workload.length_of(prompt, self._past[prompt], seen[prompt]))
            seen[prompt] += 1
        return lengths


def force_lengths(model: Any, keyed: KeyedLengths) -> None:
    """Make every later `model.generate(input_ids=, attention_mask=, ...)` end as keyed."""
    plain = model.generate

    def generate(*, input_ids: Tensor, attention_mask: Tensor, **others: Any) -> Any:
        processors = keyed.processors(input_ids, attention_mask)
        return plain(
            input_ids=input_ids,
            attention_mask=attention_mask,
            logits_processor=processors,
            **others,
        )

    model.generate = generate
