"""Loads a model of the catalogue as plain float32 weights: offline, no pickle, no remote code."""

import copy
import hashlib
import importlib.util
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from worker.whitebox.errors import ModelRejected
from worker.whitebox.screen import screen_folder

DIGESTED = frozenset({".safetensors", ".gguf", ".json", ".jinja", ".model", ".txt"})
FOREIGN_ERRORS = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)


@dataclass(frozen=True)
class HubModel:
    """A model of the hub at one commit, already in the local cache."""

    repo: str
    revision: str


@dataclass(frozen=True)
class FolderModel:
    """A folder with safetensors, configuration and tokenizer."""

    path: Path


@dataclass(frozen=True)
class PackageModel:
    """A GGUF file inside an installed package."""

    package: str
    file: str


Source = HubModel | FolderModel | PackageModel


def load_model(
    source: Source,
    *,
    cache: Path | None = None,
    device: torch.device | None = None,
    kind: Any = AutoModelForCausalLM,
) -> tuple[Any, Any]:
    """Return the model, in eval mode and float32, and its tokenizer.

    `kind` is the library's factory: of causal models, or of others that lie in a folder.

    De-quantising a GGUF takes far longer than reading safetensors; with `cache`, a folder that
    only this program writes, the converted model is kept there under its digest.

    Raises:
        ModelRejected: the model is missing, unsafe, incomplete or not readable.
    """
    transformers_logging.disable_progress_bar()
    path = _locate(source)
    if path.suffix != ".gguf":
        model, tokenizer = _load_folder(path, kind)
    elif kind is not AutoModelForCausalLM:
        raise ModelRejected(f"{path.name}: a GGUF file holds a causal model only")
    elif cache is None:
        model, tokenizer = _load_gguf(path)
    else:
        model, tokenizer = _load_folder(_converted(path, cache / source_digest(source)), kind)
    return model.eval().to(device or best_device()), tokenizer


def best_device() -> torch.device:
    """The first GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def source_digest(source: Source) -> str:
    """SHA-256, in hex, over names and bytes of the weights, configuration and tokenizer.

    Raises:
        ModelRejected: the model is missing or unsafe.
    """
    path = _locate(source)
    files = [path] if path.is_file() else [f for f in path.iterdir() if f.suffix in DIGESTED]
    total = hashlib.sha256()
    for file in sorted(files):
        with file.open("rb") as stream:
            total.update(
                f"{file.name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode()
            )
    return total.hexdigest()


def plain_copy(model: Any, state: dict[str, torch.Tensor] | None = None) -> Any:
    """The same architecture around `state` (the model's own unless given), sharing its memory.

    A model that came from a GGUF refuses to be saved; its plain copy does not.
    """
    config = copy.deepcopy(model.config)
    vars(config).pop("quantization_config", None)
    plain = type(model).from_pretrained(
        None, config=config, state_dict=state or model.state_dict(), dtype=torch.float32
    )
    if plain.can_generate():
        plain.generation_config = copy.deepcopy(model.generation_config)
    return plain.eval()


def _locate(source: Source) -> Path:
    """The folder with the safetensors, screened, or the GGUF file."""
    match source:
        case HubModel():
            folder = _snapshot(source)
            screen_folder(folder, root=folder.parents[1])
            return folder
        case FolderModel(path):
            screen_folder(path)
            return path
        case PackageModel():
            return _packaged(source)


def _snapshot(source: HubModel) -> Path:
    try:
        config = cached_file(
            source.repo, "config.json", revision=source.revision, local_files_only=True
        )
    except OSError as error:
        raise ModelRejected(f"{source.repo}: this revision is not in the local cache") from error
    return Path(config).parent


def _packaged(source: PackageModel) -> Path:
    """Find the file without importing the package: looking up a top-level name runs none of it."""
    if "." in source.package or Path(source.file).name != source.file:
        raise ModelRejected(f"{source.package}/{source.file}: not a file of a top-level package")
    spec = importlib.util.find_spec(source.package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(folder) / source.file
        if file.is_file() and file.suffix == ".gguf":
            return file
    raise ModelRejected(f"{source.package}: no installed package with a GGUF file {source.file}")


def _load_folder(folder: Path, kind: Any) -> tuple[Any, Any]:
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        model, report = kind.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **options
        )
    except FOREIGN_ERRORS as error:
        raise ModelRejected(f"{folder.name}: {error}") from error
    _refuse_gaps(folder, report)
    return model, _forget_origin(tokenizer)


def _refuse_gaps(folder: Path, report: dict[str, Any]) -> None:
    """Transformers fills missing weights with random numbers and only warns."""
    gaps = sorted(map(str, {*report["missing_keys"], *report["mismatched_keys"]}))
    if gaps:
        raise ModelRejected(f"{folder.name}: weights missing or misshapen: {', '.join(gaps[:3])}")


def _load_gguf(file: Path) -> tuple[Any, Any]:
    options = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
    unpack = GgufConfig(gguf_file=file.name, dequantize=True)
    try:
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **options)
        model = AutoModelForCausalLM.from_pretrained(
            file.parent, dtype=torch.float32, quantization_config=unpack, **options
        )
    except FOREIGN_ERRORS as error:
        raise ModelRejected(f"{file.name}: {error}") from error
    return plain_copy(model), _forget_origin(tokenizer)


def _forget_origin(tokenizer: Any) -> Any:
    """How it was loaded here would be written into every copy that we save."""
    for option in ("is_local", "local_files_only", "gguf_file"):
        tokenizer.init_kwargs.pop(option, None)
    return tokenizer


def _converted(file: Path, folder: Path) -> Path:
    """The GGUF as a folder of safetensors; made once, and whole or not at all."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            for part in _load_gguf(file):
                part.save_pretrained(draft)
            _publish(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    screen_folder(folder)
    return folder


def _publish(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        # another process converted the same model first
        if not folder.is_dir():
            raise
