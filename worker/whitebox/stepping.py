"""The decoding steps of one batch: through the library's model, or by the kernels alone."""

from typing import Any

import torch
from torch import Tensor

from worker.whitebox.attention import Prompts, response_cache
from worker.whitebox.decoder import Decoder, decoder_of
from worker.whitebox.native.stepping import Kept, Rows


class LibrarySteps:
    """Steps through the model; the keys and values of finished rows are in the way."""

    compact_at = 0.125
    """The share of finished rows from which copying the cache is cheaper than carrying them."""

    def __init__(self, model: Any, prompts: Prompts, prompt_R: Tensor, room: int) -> None:
        self._model, self._prompts = model, prompts
        prompts.seat(prompt_R)
        self._cache = response_cache(len(prompts.keys), room)

    def logits(self, token_R: Tensor, position_R: Tensor) -> Tensor:
        """The logits after one more token a row, (R, V)."""
        out = self._model(
            input_ids=token_R[:, None],
            # a mask that the library passes through as it is: the prompts bring their own
            attention_mask=self._prompts.bias_P11T.new_zeros(1, 1, 1, 1),
            position_ids=position_R[:, None],
            cache=self._cache,
            use_cache=True,
            prompts=self._prompts,
        )
        logits: Tensor = out.logits[:, -1]
        return logits

    def keep(self, rows_R: Tensor) -> None:
        """Go on with these rows alone."""
        self._prompts.keep(rows_R)
        for layer in self._cache.layers:
            if layer.is_initialized:
                layer.keep(rows_R)


class KernelSteps:
    """Steps by the kernels; finished rows are left where they are."""

    compact_at = 0.0

    def __init__(self, decoder: Decoder, prompts: Prompts, prompt_R: Tensor, room: int) -> None:
        self._decoder = decoder
        # the padding stands on the left
        self._start_P = prompts.bias_P11T.isinf().sum(-1).flatten()
        self._prompt_R, self._slot_R = prompt_R, torch.arange(len(prompt_R))
        self._length = 0
        _, heads, longest, size = prompts.keys[0].shape
        self._rotation = decoder.rotation(longest + room)
        own = (2, len(prompt_R), heads, room, size)
        self._kept = [
            Kept(keys, values, keys.new_empty(own))
            for keys, values in zip(prompts.keys, prompts.values, strict=True)
        ]

    def logits(self, token_R: Tensor, position_R: Tensor) -> Tensor:
        """The logits after one more token a row, (R, V)."""
        rows = Rows(self._slot_R, self._prompt_R, self._start_P, self._length)
        self._length += 1
        return self._decoder.logits(token_R, self._rotation.at(position_R), rows, self._kept)

    def keep(self, rows_R: Tensor) -> None:
        """Go on with these rows alone."""
        self._slot_R, self._prompt_R = self._slot_R[rows_R], self._prompt_R[rows_R]


def steps_for(
    model: Any, prompts: Prompts, prompt_R: Tensor, room: int
) -> LibrarySteps | KernelSteps:
    """The steps of rows that read these prompts, of at most `room` tokens each."""
    decoder = decoder_of(model)
    if decoder is None:
        return LibrarySteps(model, prompts, prompt_R, room)
    return KernelSteps(decoder, prompts, prompt_R, room)
