"""The library's continuous batching as a sampler: rows enter and leave one paged cache.

It runs on the training weights themselves, adapters included. Three things are ours:

1. The draw is keyed by row; the library's would take it from torch's global generator. Which rows
   are computed together still changes last bits, and with them, rarely, a token.
2. Each call has a cache of its own: the library's reuses keys and values of a prompt that older
   weights computed.
3. All rows wait in the queue before the loop starts, and the cache's size is fixed rather than
   found from free memory, so that equal calls are scheduled alike.

Products run in the type that the weights are held in, so bfloat16 needs weights held so (low-rank
tuning); weights held in float32 are sampled in float32. It has run on CPU only.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import ContinuousBatchingConfig, GenerationConfig, LogitsProcessorList
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessorList,
)

from worker.whitebox.chat import Chat
from worker.whitebox.errors import Interrupted, SamplingFailed
from worker.whitebox.keyed import Keyed, only
from worker.whitebox.sample import Drawn, Generation, Row, never
from worker.whitebox.score import base_of

PAGE = 32
"""Tokens of a page, the unit in which a row takes room in the cache."""
PASS_TOKENS = 2048
"""Most tokens of one forward pass; longer prompts are computed in parts."""
ASKED_SECONDS = 0.1
"""How long the caller's wish to stop may go unheard."""


@dataclass(frozen=True)
class ContinuousSampler:
    """Samples rows with the library's continuous batching; its cache holds `batch_tokens`."""

    model: Any
    chat: Chat
    generation: Generation

    def sample(
        self, rows: Sequence[Row], version: int, interrupted: Callable[[], bool] = never
    ) -> Iterator[tuple[int, Drawn]]:
        """Yield each row's index and response as soon as it is complete.

        The loop rests while the caller works on what was yielded.

        Raises:
            Interrupted: `interrupted` answered true; it is asked ten times a second.
            SamplingFailed: the library's loop ended before its time.
        """
        del version  # the weights are the model's own, and the cache is this call's
        model = base_of(self.model)
        keyed = Keyed(rows, self.chat, self.generation, model.device)
        with _loop(model, keyed, rows, self._configs(rows)) as loop:
            for _ in rows:
                row = _next(loop, interrupted)
                with loop.pause():
                    yield row, keyed.drawn[row]

    def _configs(self, rows: Sequence[Row]) -> tuple[GenerationConfig, ContinuousBatchingConfig]:
        longest = max((len(row.prompt) for row in rows), default=0) + self.generation.max_new_tokens
        room = max(self.generation.batch_tokens, longest + 2 * PAGE)
        # one token more than any row takes: the end is always ours to say
        most = self.generation.max_new_tokens + 1
        settings = GenerationConfig(max_new_tokens=most, eos_token_id=self.chat.end_id)
        return settings, ContinuousBatchingConfig(
            page_size=PAGE,
            num_blocks=-(-room // PAGE),
            max_batch_tokens=min(PASS_TOKENS, room),
            allow_block_sharing=False,
            # a recorded graph or a step ahead would run without the draw
            use_cuda_graph=False,
            use_async_batching=False,
            auto_switch_to_flash=False,
            seed=0,
        )


@contextmanager
def _loop(
    model: Any,
    keyed: Keyed,
    rows: Sequence[Row],
    configs: tuple[GenerationConfig, ContinuousBatchingConfig],
) -> Iterator[Any]:
    """The library's loop at work on all rows with torch's attention; both end with the block."""
    attention = model.config._attn_implementation  # noqa: SLF001 - shown nowhere else
    model.set_attn_implementation("sdpa")
    try:
        loop = model.init_continuous_batching(*configs)
        loop.logit_processor = _Draws(keyed, configs[0].eos_token_id)
        for i, row in enumerate(rows):
            loop.add_request(list(row.prompt), request_id=str(i))
        loop.start()
        try:
            yield loop
        finally:
            loop.stop(hard_stop=True)
            loop.destroy()
    finally:
        model.set_attn_implementation(attention)


def _next(loop: Any, interrupted: Callable[[], bool]) -> int:
    """The row that is complete next."""
    while not interrupted():
        result = loop.get_result(timeout=ASKED_SECONDS)
        if result is not None and result.error is None:
            return int(result.request_id)
        if result is not None or not loop.is_running():
            raise SamplingFailed(result.error if result else "continuous batching has ended")
    raise Interrupted("sampling was interrupted")


class _Draws(ContinuousBatchingLogitsProcessorList):  # type: ignore[misc]  # no types there
    """Leaves the drawn token as the only one possible, or the end where a row is complete."""

    def __init__(self, keyed: Keyed, end_id: int) -> None:
        super().__init__(LogitsProcessorList())
        self.do_processing = True
        self._keyed = keyed
        self._end_id = end_id
        self._rows: list[int] = []

    def prepare_tensor_args(self, requests_in_batch: Sequence[Any], arg_storage: Tensor) -> Tensor:
        """Note which rows the coming logits belong to."""
        drawing = (request for request in requests_in_batch if request.has_new_token)
        self._rows = [int(request.state.request_id) for request in drawing]
        return arg_storage

    def __call__(self, input_ids: Tensor, scores: Tensor, logits_processor_args: Tensor) -> Tensor:
        """Raw logits in, one finite place a row out, both (N, V); unused logits stand behind."""
        del input_ids, logits_processor_args
        used = scores[: len(self._rows)]
        token_R = self._keyed.take(self._rows, used)
        complete = [self._keyed.complete(row) for row in self._rows]
        token_R[torch.tensor(complete, device=token_R.device)] = self._end_id
        return torch.cat([only(token_R, used), scores[len(self._rows) :]])
