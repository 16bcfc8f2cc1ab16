"""Has the blocks of a LLaMA-like model computed by our halves, where that comes to the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from worker.whitebox.attending import Attending, Rotation, Rotations
from worker.whitebox.attention import attend_by, takes_trees
from worker.whitebox.gating import Gating
from worker.whitebox.native.heads import Heads
from worker.whitebox.native.library import LANE
from worker.whitebox.native.stepping import Kept, Rows
from worker.whitebox.norms import Norm
from worker.whitebox.score import base_of
from worker.whitebox.stacks import Stack

GROUPS = (
    ("self_attn", ("q_proj", "k_proj", "v_proj")),
    ("self_attn", ("o_proj",)),
    ("mlp", ("gate_proj", "up_proj")),
    ("mlp", ("down_proj",)),
)
"""A block's products, by the layers that read one input."""
NORMS = ("input_layernorm", "post_attention_layernorm")
KNOWN = frozenset(
    {
        "position_embeddings",
        "attention_mask",
        "cache",
        "position_ids",
        "use_cache",
        "prompts",
        "tree",
    }
)
"""What ours may be called with; whatever else a model gives its blocks, the library's get."""
PROBE = 3
"""Tokens that both blocks are compared on."""
CLOSE = 1e-3
"""The most by which what they add may differ, as a share; rounding makes less."""


@dataclass(frozen=True, eq=False)
class Block:
    """A block and its parts."""

    layer: Any
    attending: Attending
    gating: Gating
    rotations: Rotations
    last: bool = False
    """Whether nothing reads its output but the head, behind a tree's prompt."""

    def forward(
        self,
        x_BTD: Tensor,
        *,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        cache: Any = None,
        **others: Any,
    ) -> Tensor:
        """Stand in for the library's block; hidden states are (B, T, D)."""
        rotation = self.rotations.of(*position_embeddings)
        if self.learns:
            tree = others.get("tree")
            x_TD = self.attending.learnt(x_BTD, rotation, tree).flatten(0, 1)
            unread = tree.prompt - 1 if self.last and tree else 0
            gated_TD = self.gating.learnt(x_TD[unread:])
            out_TD = torch.cat((x_TD[:unread], gated_TD)) if unread else gated_TD
            return out_TD.view(x_BTD.shape)
        module, scale = self.layer.self_attn, self.attending.heads.scale

        def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            if cache is not None:
                key, value = cache.update(key, value, module.layer_idx, kwargs=others)
            return attend_by(module, query, key, value, attention_mask, scaling=scale, **others)[0]

        x_BTD = self.attending.values(x_BTD, rotation, attention)
        return self.gating.values(x_BTD.flatten(0, 1)).view(x_BTD.shape)

    def step(self, x_RD: Tensor, rotation: Rotation, rows: Rows, kept: Kept) -> Tensor:
        """One token a row, (R, D), by the kernels."""
        return self.gating.values(self.attending.step(x_RD, rotation, rows, kept))

    @property
    def learns(self) -> bool:
        """Whether its adapters are to get gradients."""
        return self.attending.qkv.learns


def use_lean_blocks(model: Any, stacks: Sequence[Stack], *, compiled: bool = False) -> list[Block]:
    """Let every block of a float32 model on a CPU be computed by ours if it comes to the same.

    That is found out on a few random vectors: a block may have more in it than its parts show.
    `stacks` are the products as `use_lean_products` returns them. With `compiled` the kernels
    compute what is no product, where the widths are theirs. Returns the blocks of ours.
    """
    base = base_of(model)
    decoder = base.base_model
    rotary = getattr(decoder, "rotary_emb", None)
    if rotary is None or not takes_trees(base):
        return []
    found = _blocks(decoder, stacks, compiled=compiled)
    ours = [block for block in found if _comes_to_the_same(block, rotary)]
    for block in ours:
        block.layer.forward = partial(_forward, block, block.layer.forward)
    return ours


def use_plain_blocks(model: Any) -> None:
    """Take that back."""
    for layer in getattr(base_of(model).base_model, "layers", ()):
        vars(layer).pop("forward", None)


def _forward(block: Block, plain: Any, x_BTD: Tensor, *args: Any, **kwargs: Any) -> Any:
    """Ours, but for what it can't do."""
    given = {name for name, value in kwargs.items() if value is not None}
    if args or given - KNOWN or (torch.is_grad_enabled() and not _can_learn(block, given)):
        return plain(x_BTD, *args, **kwargs)
    return block.forward(x_BTD, **kwargs)


def _can_learn(block: Block, given: set[str]) -> bool:
    """Not behind a mask over all pairs or from a cache, nor dropping activations."""
    masked = "attention_mask" in given and "tree" not in given
    return block.learns and not (masked or "cache" in given or block.layer.training)


def _blocks(decoder: Any, stacks: Sequence[Stack], *, compiled: bool) -> Iterator[Block]:
    """The layers that have the parts of a block, with all products adapted."""
    known = {tuple(map(id, stack.layers)): stack for stack in stacks}
    rotations = Rotations()
    layers: Any = getattr(decoder, "layers", ())
    for layer in layers:
        parts = [
            tuple(id(getattr(getattr(layer, half, None), name, None)) for name in names)
            for half, names in GROUPS
        ]
        of = [known[part] for part in parts if part in known]
        norms: list[Any] = [getattr(layer, name, None) for name in NORMS]
        if len(of) == len(GROUPS) and all(hasattr(norm, "variance_epsilon") for norm in norms):
            size = layer.self_attn.head_dim
            fits = compiled and _fits(of, size)
            plain = [Norm(norm.weight, norm.variance_epsilon, fits) for norm in norms]
            yield replace(_block(layer, of, plain, rotations), last=layer is layers[-1])


def _fits(stacks: Sequence[Stack], size: int) -> bool:
    """Whether all widths are whole lanes, and half a head is."""
    widths = [width for one in stacks for width in (one.layers[0].in_features, *one.sizes)]
    return not any(width % LANE for width in widths) and size % (2 * LANE) == 0


def _block(
    layer: Any, stacks: Sequence[Stack], norms: Sequence[Norm], rotations: Rotations
) -> Block:
    qkv, out, gate_up, down = stacks
    size, scale = layer.self_attn.head_dim, layer.self_attn.scaling
    queries, shared, _ = (width // size for width in qkv.sizes)
    heads = Heads(queries, shared, size, scale)
    compiled = norms[0].compiled
    attending = Attending(norms[0], qkv, out, heads, compiled)
    return Block(layer, attending, Gating(norms[1], gate_up, down, compiled), rotations)


@torch.no_grad()
def _comes_to_the_same(block: Block, rotary: Any) -> bool:
    weight_D, size = block.gating.norm.weight_D, block.attending.heads.size
    if weight_D.dtype != torch.float32:
        return False
    x_BTD = torch.randn(1, PROBE, len(weight_D), generator=torch.Generator().manual_seed(0))
    positions = rotary(x_BTD, torch.arange(PROBE)[None])
    if positions[0].shape[-1] != size:
        return False
    theirs = block.layer(x_BTD, position_embeddings=positions)
    ours = block.forward(x_BTD, position_embeddings=positions)
    if not isinstance(theirs, Tensor):
        return False
    # what a block adds may be small beside what passes through it
    return bool((ours - theirs).norm() <= CLOSE * (theirs - x_BTD).norm())
