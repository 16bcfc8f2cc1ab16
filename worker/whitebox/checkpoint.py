"""Writes what users load elsewhere, and the exact state that training goes on from.

    adapter/          peft's own format, with the tokenizer
    merged/           a plain safetensors model, with the tokenizer
    training_state/   trainable weights and optimizer moments by parameter name, and their counters
    README.md         the model card, if one is given

No file is a pickle.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file
from torch import Tensor

from worker.whitebox.errors import StateMismatch
from worker.whitebox.learn import Learner
from worker.whitebox.load import plain_copy
from worker.whitebox.policy import WhiteBox
from worker.whitebox.stepper import State

READABLE = 0o644
"""The safetensors library writes files that only their owner can read."""


def save_checkpoint(
    policy: WhiteBox,
    folder: Path,
    *,
    base_model: str,
    adapter: bool = True,
    merged: bool = False,
    card: str | None = None,
) -> None:
    """Write the training state, and what else is asked for, into `folder`; the policy stays as is.

    `base_model` is the catalogue's name, noted in place of a path of this machine. With full
    tuning there is no adapter: `adapter` writes nothing and `merged` is the model itself.
    """
    model, tokenizer = policy.speaker.model, policy.speaker.chat.tokenizer
    folder.mkdir(parents=True, exist_ok=True)
    with policy.learner.stepper.snapshot() as state:
        _save_training_state(policy.learner, state, folder / "training_state")
        if adapter and isinstance(model, PeftModel):
            _save_adapter(model, folder / "adapter", base_model)
            tokenizer.save_pretrained(folder / "adapter")
        if merged:
            _save_merged(model, folder / "merged", base_model)
            tokenizer.save_pretrained(folder / "merged")
    if card is not None:
        (folder / "README.md").write_text(card, encoding="utf-8")
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(READABLE)


def load_training_state(policy: WhiteBox, folder: Path) -> None:
    """Put weights, moments and version back, so that the next update is that of an unbroken run.

    Args:
        policy: a policy built from the same model, tuning and optimizer.
        folder: the folder that `save_checkpoint` was given.

    Raises:
        StateMismatch: parameters, shapes or optimizer differ; the policy is unchanged.
    """
    state = folder / "training_state"
    learner = policy.learner
    counters = json.loads((state / "state.json").read_text(encoding="utf-8"))
    if counters["optimizer"]["kind"] != learner.config.kind:
        raise StateMismatch("the training state is of another optimizer")
    weights = load_file(state / "weights.safetensors")
    _require_same_shapes(weights, learner.stepper.shapes)
    learner.stepper.restore(State(weights, load_file(state / "optimizer.safetensors")))
    learner.version = counters["version"]


@torch.no_grad()
def merged_weights(model: Any) -> dict[str, Tensor]:
    """Name to weight of the model as if its adapters were part of it: W + scale * B A.

    Computed beside the live model, whose weights are only read; what has no adapter is shared.
    """
    if not isinstance(model, PeftModel):
        return dict(model.state_dict())
    base = model.get_base_model()
    weights = {
        name.replace(".base_layer.", "."): weight
        for name, weight in base.state_dict().items()
        if ".lora_" not in name
    }
    for name, layer in base.named_modules():
        if isinstance(layer, LoraLayer):
            delta = layer.get_delta_weight(model.active_adapter)
            weights[f"{name}.weight"] = weights[f"{name}.weight"] + delta
    return weights


def _save_training_state(learner: Learner, state: State, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    counters = {
        "version": learner.version,
        "total_updates": learner.total_updates,
        "optimizer": asdict(learner.config),
    }
    save_file(dict(state.weights), folder / "weights.safetensors")
    save_file(dict(state.moments), folder / "optimizer.safetensors")
    (folder / "state.json").write_text(json.dumps(counters, indent=2), encoding="utf-8")


def _save_adapter(model: Any, folder: Path, base_model: str) -> None:
    folder.mkdir(exist_ok=True)
    config = copy.deepcopy(model.peft_config[model.active_adapter])
    config.base_model_name_or_path = base_model
    config.inference_mode = True
    config.target_modules = sorted(config.target_modules)  # the same bytes in every process
    config.save_pretrained(folder)
    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    weights = {name: weight.contiguous() for name, weight in weights.items()}
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def _save_merged(model: Any, folder: Path, base_model: str) -> None:
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    plain = plain_copy(base, merged_weights(model))
    plain.config._name_or_path = base_model  # noqa: SLF001 - else it may be a path of this machine
    plain.save_pretrained(folder)


def _require_same_shapes(saved: Mapping[str, Tensor], ours: Mapping[str, tuple[int, ...]]) -> None:
    theirs = {name: tuple(weight.shape) for name, weight in saved.items()}
    if different := sorted(dict(theirs.items() ^ ours.items())):
        raise StateMismatch(f"the training state is of another model: {different[0]}")
