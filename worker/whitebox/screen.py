"""Refuses a model folder that could run code or read foreign files, before any library opens it."""

import json
from collections.abc import Iterator
from pathlib import Path

from worker.whitebox.errors import ModelRejected

FORBIDDEN_SUFFIXES = frozenset(
    {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".h5", ".py", ".so"}
)
FORBIDDEN_KEYS = frozenset(
    {"auto_map", "trust_remote_code", "quantization_config", "transformers_weights"}
)
CONFIGS = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "processor_config.json",
    "preprocessor_config.json",
)


def screen_folder(folder: Path, root: Path | None = None) -> None:
    """Check that `folder` holds a plain safetensors model and nothing that could execute.

    Links must stay inside `root` (the folder itself unless given: a hub cache links to its blobs).

    Raises:
        ModelRejected: naming the file or key that is not accepted.
    """
    if not folder.is_dir():
        raise ModelRejected(f"{folder.name}: no such folder")
    files = sorted(folder.iterdir())
    for file in files:
        _screen_file(file, (root or folder).resolve())
    if not any(file.suffix == ".safetensors" for file in files):
        raise ModelRejected(f"{folder.name}: no safetensors weights")
    if not (folder / "config.json").is_file():
        raise ModelRejected(f"{folder.name}: no config.json")
    for name in CONFIGS:
        _screen_config(folder / name)
    _screen_index(folder / "model.safetensors.index.json")


def _screen_file(file: Path, root: Path) -> None:
    if file.suffix.lower() in FORBIDDEN_SUFFIXES:
        raise ModelRejected(f"{file.name}: pickles and code are not accepted, remove it")
    if file.name == "adapter_config.json":
        raise ModelRejected("adapter_config.json: an adapter is no model, name a merged one")
    if not file.resolve().is_relative_to(root):
        raise ModelRejected(f"{file.name}: a link that leaves the model's folder")


def _screen_config(file: Path) -> None:
    if not file.exists():
        return
    for key, value in _pairs(_read(file)):
        kernel = key.endswith("attn_implementation") and isinstance(value, str) and "/" in value
        if key in FORBIDDEN_KEYS or key.endswith("_internal") or kernel:
            raise ModelRejected(f"{file.name}: the key {key!r} is not accepted")


def _screen_index(file: Path) -> None:
    if not file.exists():
        return
    index = _read(file)
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict):
        raise ModelRejected(f"{file.name}: no weight_map")
    for shard in shards.values():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise ModelRejected(f"{file.name}: {shard!r} is no plain file name")
        if not shard.endswith(".safetensors"):
            raise ModelRejected(f"{file.name}: {shard!r} is not safetensors")


def _read(file: Path) -> object:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelRejected(f"{file.name}: not readable JSON") from error


def _pairs(value: object) -> Iterator[tuple[str, object]]:
    """Every key with its value, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key), inner
            yield from _pairs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _pairs(inner)
