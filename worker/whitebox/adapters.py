"""The adapters at work in a model, for a sampler that holds the base a second time."""

from pathlib import Path
from typing import Any

from peft import get_peft_model_state_dict
from safetensors.torch import save_file


def adapters_of(base: Any) -> Any:
    """The configuration of the adapters inside a model that peft has wrapped, or None."""
    return getattr(base, "peft_config", {}).get("default")


def save_adapters(base: Any, folder: Path) -> None:
    """Write them in peft's format; `base` is the model under peft's wrapper."""
    weights = get_peft_model_state_dict(base, save_embedding_layers=False)
    named = {f"base_model.model.{name}": value.contiguous() for name, value in weights.items()}
    save_file(named, folder / "adapter_model.safetensors")
    adapters_of(base).save_pretrained(folder)
