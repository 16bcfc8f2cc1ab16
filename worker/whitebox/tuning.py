"""Which weights are trained: low-rank adapters on a frozen model, or all of them."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from worker.whitebox.adapters import load_adapters
from worker.whitebox.blocks import use_lean_blocks
from worker.whitebox.decoder import use_lean_decoder
from worker.whitebox.frozen import Layout
from worker.whitebox.lora import use_lean_products
from worker.whitebox.native.library import usable_for
from worker.whitebox.norms import use_torch_norms


@dataclass(frozen=True)
class LoraTuning:
    """Adapters on every linear layer but the head; the base stays frozen."""

    rank: int = 16
    alpha: float = 32.0
    start: Path | None = None
    """A folder with adapters in peft's format to begin with, of the same rank and alpha."""


@dataclass(frozen=True)
class FullTuning:
    """All weights are trained."""


Tuning = LoraTuning | FullTuning


def tune(
    model: Any,
    tuning: Tuning,
    seed: int = 0,
    *,
    checkpointing: bool = False,
    merged: bool = False,
    layout: Layout = "own",
    compiled: bool = True,
    head: str | None = None,
) -> Any:
    """Make `model` trainable in place and return it, or its wrapper with adapters, in eval mode.

    Adapters are those of a folder or start as drawn from `seed`, and as no change: their second
    factor is zero. With `checkpointing` training mode drops activations, and nothing else: all
    dropout is switched off. With `merged` there is a second copy of the adapted weights to sample
    from; `layout` is that of the frozen ones on a CPU, where the kernels compute what they can
    unless `compiled` is false or weights stay as they lie. A fresh `head` is trained as it is.

    Raises:
        StateMismatch: the adapters in the folder are not of this model and rank.
    """
    if checkpointing:
        _switch_dropout_off(model)
        model.activation_checkpointing_enable({"use_reentrant": False})
    match tuning:
        case FullTuning():
            return model.requires_grad_(requires_grad=True).eval()
        case LoraTuning():
            tuned = _with_adapters(model, tuning, seed, head)
            _compute_by_ours(tuned, merged=merged, layout=layout, compiled=compiled)
            return tuned.eval()


def _with_adapters(model: Any, tuning: LoraTuning, seed: int, head: str | None) -> Any:
    config = LoraConfig(
        r=tuning.rank,
        lora_alpha=tuning.alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        exclude_modules=None if head is None else [head],
        task_type="CAUSAL_LM" if head is None else None,
    )
    with torch.random.fork_rng(), warnings.catch_warnings():
        # peft asks transformers by an attribute's former name
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        torch.manual_seed(seed)
        tuned = get_peft_model(model, config)
        if tuning.start is not None:
            load_adapters(tuned, tuning.start)
    if head is not None:
        getattr(tuned.get_base_model(), head).requires_grad_(requires_grad=True)
    return tuned


def _compute_by_ours(model: Any, *, merged: bool, layout: Layout, compiled: bool) -> None:
    """Our products, norms and blocks, where they come to the same as the library's."""
    weight = model.get_base_model().get_input_embeddings().weight
    compiled = compiled and layout != "own" and usable_for(weight)
    stacks = use_lean_products(model, sums=merged, layout=layout, compiled=compiled)
    use_torch_norms(model)
    blocks = use_lean_blocks(model, stacks, compiled=compiled)
    if compiled:
        use_lean_decoder(model.get_base_model(), blocks)


def _switch_dropout_off(model: Any) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.0
