"""A whole model's decoding step by the kernels, without the library's long way there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from worker.whitebox.attending import Rotation, rotation_of
from worker.whitebox.blocks import CLOSE, PROBE, Block
from worker.whitebox.frozen import FrozenLayer, frozen
from worker.whitebox.native.stepping import Kept, Rows
from worker.whitebox.norms import Norm

FIXED = frozenset({"default", "linear", "llama3", "yarn"})
"""The library's kinds of rotation that do not depend on how long a text has become."""


@dataclass(frozen=True, eq=False)
class Decoder:
    """What a step computes with."""

    embeddings_VD: Tensor
    rotary: Any
    blocks: Sequence[Block]
    norm: Norm
    head: FrozenLayer

    def logits(
        self, token_R: Tensor, rotation: Rotation, rows: Rows, kept: Sequence[Kept]
    ) -> Tensor:
        """The logits after one more token a row, (R, V); its keys and values are kept."""
        x_RD = self.embeddings_VD.index_select(0, token_R)
        for block, layer in zip(self.blocks, kept, strict=True):
            x_RD = block.step(x_RD, rotation, rows, layer)
        return self.head.forward(self.norm.values(x_RD))

    def rotation(self, length: int) -> Rotation:
        """The library's, at so many positions from the first."""
        position_1T = torch.arange(length)[None]
        return rotation_of(*self.rotary(self.embeddings_VD[:1][None], position_1T))


_DECODERS: "WeakKeyDictionary[Any, Decoder]" = WeakKeyDictionary()


def use_lean_decoder(base: Any, blocks: Sequence[Block]) -> None:
    """Let a model decode by the kernels if all its blocks do, and it comes to the same."""
    body, head = base.base_model, base.get_output_embeddings()
    norm: Any = getattr(body, "norm", None)
    rotary: Any = getattr(body, "rotary_emb", None)
    all_ours = bool(blocks) and len(blocks) == len(body.layers)
    whole = all_ours and all(block.attending.compiled for block in blocks)
    if not whole or type(head) is not torch.nn.Linear or not hasattr(norm, "variance_epsilon"):
        return
    if getattr(rotary, "rope_type", None) not in FIXED:
        return
    plain = Norm(norm.weight, norm.variance_epsilon, compiled=True)
    embeddings_VD = base.get_input_embeddings().weight
    made = Decoder(embeddings_VD, rotary, blocks, plain, frozen(head))
    if _comes_to_the_same(made, base):
        _DECODERS[base] = made


def use_plain_decoder(base: Any) -> None:
    """Take that back."""
    _DECODERS.pop(base, None)


def decoder_of(base: Any) -> Decoder | None:
    """The model's, or None where the library's has to do."""
    return _DECODERS.get(base)


@torch.no_grad()
def _comes_to_the_same(decoder: Decoder, base: Any) -> bool:
    """On a few tokens: a model may have more in it than its parts show."""
    token_T = torch.arange(PROBE) % len(decoder.embeddings_VD)
    x_BTD = decoder.embeddings_VD[token_T][None]
    positions = decoder.rotary(x_BTD, torch.arange(PROBE)[None])
    for block in decoder.blocks:
        x_BTD = block.forward(x_BTD, position_embeddings=positions)
    ours_TV = decoder.head.forward(decoder.norm.values(x_BTD[0]))
    theirs_TV = base(input_ids=token_T[None], use_cache=False).logits[0]
    return bool((ours_TV - theirs_TV).norm() <= CLOSE * theirs_TV.norm())
