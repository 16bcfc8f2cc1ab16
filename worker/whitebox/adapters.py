"""The adapters at work in a model: their files, and the ones that they began as."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import Tensor

from worker.whitebox.errors import StateMismatch

AT_WORK, START = "default", "start"
"""The names of the adapters that are trained, and of those that training began with."""
WEIGHTS = "adapter_model.safetensors"


def adapters_of(base: Any) -> Any:
    """The configuration of the adapters inside a model that peft has wrapped, or None."""
    return getattr(base, "peft_config", {}).get(AT_WORK)


def save_adapters(base: Any, folder: Path) -> None:
    """Write them in peft's format; `base` is the model under peft's wrapper."""
    weights = get_peft_model_state_dict(base, save_embedding_layers=False)
    named = {f"base_model.model.{name}": value.contiguous() for name, value in weights.items()}
    save_file(named, folder / WEIGHTS)
    adapters_of(base).save_pretrained(folder)


def load_adapters(model: Any, folder: Path) -> None:
    """Give a peft model the adapters of a folder twice: to be trained, and to compare with.

    Raises:
        StateMismatch: they are not of this model and rank.
    """
    weights = load_file(folder / WEIGHTS)
    model.add_adapter(START, copy.deepcopy(adapters_of(model)))
    for name in (AT_WORK, START):
        ours = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
        _fill(ours, weights)


@torch.no_grad()
def _fill(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    shapes = [{name: weight.shape for name, weight in some.items()} for some in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise StateMismatch("the adapters to start from are not of this model and rank")
    for name, weight in theirs.items():
        ours[name].copy_(weight)


@contextmanager
def at_start(model: Any) -> Iterator[None]:
    """Let a peft model compute as before training: with the adapters that it began with, or none.

    No gradient may be asked for meanwhile.
    """
    if START not in model.peft_config:
        with model.disable_adapter():
            yield
        return
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        layer.set_adapter(START, inference_mode=True)
    try:
        yield
    finally:
        for layer in layers:
            layer.set_adapter(AT_WORK)
