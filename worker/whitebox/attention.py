"""Attention of a decoding step in which all candidates of a prompt read its keys and values once.

The library's caches hold a copy of the prompt for every candidate, and its attention copies it
again for every query head that shares a key head: most of what a step moves in memory.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from worker.whitebox.tree import Tree, attend

NAME = "shared_prompt"


@dataclass
class Prompts:
    """Keys and values of distinct prompts, and which rows of the batch read which."""

    keys: list[Tensor]
    """One a layer, (P, heads, T, d); padding on the left."""
    values: list[Tensor]
    bias_P11T: Tensor
    """0 for tokens and -inf for padding, (P, 1, 1, T)."""
    slot_R: Tensor
    """Row r is query `slot % width` of prompt `slot // width`."""
    width: int
    """Most rows of one prompt."""
    row_S: Tensor | None = None
    """The row of each query, any row for those that have none; nothing where row r is query r."""

    def keep(self, rows_R: Tensor) -> None:
        """Keep these rows, and of the prompts those that still have any."""
        prompt_R = self.slot_R[rows_R] // self.width
        alive_P, prompt_R = torch.unique(prompt_R, return_inverse=True)
        if len(alive_P) < len(self.bias_P11T):
            self.keys = [keys[alive_P] for keys in self.keys]
            self.values = [values[alive_P] for values in self.values]
            self.bias_P11T = self.bias_P11T[alive_P]
        self.seat(prompt_R)

    def seated(self, x_RhGX: Tensor) -> Tensor:
        """What rows have, by the prompts that they read and the queries of those: (P, h, w, G, X).

        A query that has no row gets some row's.
        """
        seats = x_RhGX if self.row_S is None else x_RhGX.index_select(0, self.row_S)
        return seats.view(-1, self.width, *seats.shape[1:]).transpose(1, 2)

    def rows(self, x_PhwGX: Tensor) -> Tensor:
        """What rows have of what `seated` gave."""
        seats = x_PhwGX.transpose(1, 2).flatten(0, 1)
        return seats if self.row_S is None else seats.index_select(0, self.slot_R)

    def seat(self, prompt_R: Tensor) -> None:
        """Give each row the next free query of its prompt."""
        taken = [0] * len(self.bias_P11T)
        places = []
        for prompt in prompt_R.tolist():
            places.append(taken[prompt])
            taken[prompt] += 1
        self.width = max(taken)
        self.slot_R = prompt_R * self.width + torch.tensor(places, device=prompt_R.device)
        row_S = self.slot_R.new_zeros(len(self.bias_P11T) * self.width)
        row_S[self.slot_R] = torch.arange(len(prompt_R), device=prompt_R.device)
        in_order = len(row_S) == len(prompt_R) and torch.equal(row_S, row_S.sort().values)
        self.row_S = None if in_order else row_S


class ResponseLayer(DynamicLayer):  # type: ignore[misc]  # the library has no types here
    """Keys and values of the responses alone, (R, heads, t, d), as views into longer buffers."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.is_initialized: bool = False
        self._room = room

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Write the new tokens after the old ones and return all."""
        if not self.is_initialized:
            rows, heads, _length, size = key_states.shape
            self.dtype, self.device = key_states.dtype, key_states.device
            self._buffers = key_states.new_empty(2, rows, heads, self._room, size)
            self._show(0)
            self.is_initialized = True
        start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        self._buffers[0, :, :, start:end] = key_states
        self._buffers[1, :, :, start:end] = value_states
        self._show(end)
        return self.keys, self.values

    def keep(self, rows_R: Tensor) -> None:
        """Keep only these rows."""
        length = self.keys.shape[-2]
        kept = self._buffers[:, rows_R, :, :length]
        self._buffers = self._buffers[:, : len(rows_R)]
        self._buffers[:, :, :, :length] = kept
        self._show(length)

    def _show(self, length: int) -> None:
        self.keys: Tensor = self._buffers[0, :, :, :length]
        self.values: Tensor = self._buffers[1, :, :, :length]


def response_cache(layers: int, room: int) -> Cache:
    """An empty cache for responses of at most `room` tokens."""
    return Cache(layers=[ResponseLayer(room) for _ in range(layers)])


def can_share(model: Any) -> bool:
    """Whether every layer sees the whole text and scores it plainly.

    So there is no window, cap or sink, and values are as long as keys.
    """
    config = model.config
    plain = all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)
    marks = ("attn_logit_softcapping", "sliding_window", "attention_chunk_size", "v_head_dim")
    special = any(getattr(config, mark, None) for mark in marks)
    attends = getattr(model, "_supports_attention_backend", False)
    return plain and attends and not special and bool(DynamicCache(config=config).layers)


def share_prompts(model: Any) -> None:
    """Let the model take `prompts=` in a decoding step, and `tree=` on a CPU.

    Without them it attends as before.
    """
    model.set_attn_implementation(NAME)


def takes_trees(model: Any) -> bool:
    """Whether the model may be given `tree=`."""
    ours = model.config._attn_implementation == NAME  # noqa: SLF001 - shown nowhere else
    return ours and bool(model.device.type == "cpu")


def attend_by(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    prompts: Prompts | None = None,
    tree: Tree | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention as the library asks for it: queries (R, H, T, d), keys and values (R, h, t, d).

    Gives (R, T, H, d), and no weights. `prompts` and `tree` are the model's own arguments.
    """
    if tree is not None:
        return attend(query, key, value, tree, kwargs["scaling"]).transpose(1, 2), None
    if prompts is not None:
        scale = kwargs["scaling"]
        return _step(query, key, value, prompts, module.layer_idx, scale), None
    out: tuple[Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, **kwargs
    )
    return out


def _step(
    query: Tensor, key: Tensor, value: Tensor, prompts: Prompts, layer: int, scale: float
) -> Tensor:
    """One query a row, (R, H, 1, d), over its prompt and its own (R, h, t, d); gives (R, 1, H, d).

    H / h query heads, G, share a key head. The w queries of a prompt are stacked, so that it is
    read once for all of them.
    """
    rows, heads, _, size = query.shape
    shared = key.shape[1]
    query_RhGd = query.view(rows, shared, heads // shared, size) * scale
    own_PhwGt = prompts.seated(query_RhGd @ key.mT)
    stacked = prompts.seated(query_RhGd).flatten(2, 3) @ prompts.keys[layer].mT
    stacked += prompts.bias_P11T
    weights = torch.cat([stacked.view(*own_PhwGt.shape[:4], -1), own_PhwGt], -1)
    weights = weights.softmax(-1, dtype=torch.float32).to(query.dtype)
    split = stacked.shape[-1]
    of_prompt, of_own = weights[..., :split], weights[..., split:]
    seen_PhxD = of_prompt.flatten(2, 3) @ prompts.values[layer]
    out = prompts.rows(seen_PhxD.view(*own_PhwGt.shape[:4], -1)) + prompts.rows(of_own) @ value
    return out.reshape(rows, 1, heads, size)


AttentionInterface.register(NAME, attend_by)
AttentionMaskInterface.register(NAME, sdpa_mask)
