import json
import stat
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.whitebox.conftest import LORA, ask, lesson, sampled, taught
from worker.cycle.ports import Answers, SampleRequest
from worker.cycle.types import Prompt, Sample
from worker.whitebox.checkpoint import load_training_state, save_checkpoint
from worker.whitebox.errors import StateMismatch
from worker.whitebox.policy import WhiteBox
from worker.whitebox.schedule import OptimizerConfig
from worker.whitebox.tuning import FullTuning, LoraTuning, Tuning

PROMPT = ask("Name a colour.")
LESSONS = [
    lesson(PROMPT, "Green is one.", "No"),
    lesson(ask("And a number?"), "Seven.", "Blue, I think.", "Never."),
    lesson(PROMPT, "Red.", "Perhaps."),
]
ASKED = SampleRequest(PROMPT, (1, 2, 3))
ADAMW = OptimizerConfig(lr=1e-2, schedule="cosine", warmup_updates=1, weight_decay=0.1)
SGD = OptimizerConfig(kind="sgd", lr=1e-2)


def _scored(policy: WhiteBox, samples: list[Sample]) -> list[float]:
    return policy.score([Answers(PROMPT, tuple(samples))])[0]


def _learn(policy: WhiteBox, count: int) -> None:
    for ranking in LESSONS[:count]:
        taught(policy, ranking)


def _save(policy: WhiteBox, folder: Path, **what: Any) -> Path:
    save_checkpoint(policy, folder, base_model="tiny", **what)
    return folder


@pytest.mark.parametrize("tuning", [LORA, FullTuning()])
@pytest.mark.parametrize("optimizer", [ADAMW, SGD])
def test_a_resumed_run_takes_the_very_update_of_the_unbroken_one(
    make_policy: Callable[..., WhiteBox], tmp_path: Path, tuning: Tuning, optimizer: OptimizerConfig
) -> None:
    unbroken = make_policy(tuning, optimizer)
    _learn(unbroken, 2)
    _save(unbroken, tmp_path, merged=True)
    resumed = make_policy(tuning, optimizer)
    load_training_state(resumed, tmp_path)
    assert resumed.version == 2
    assert taught(resumed, LESSONS[2]) == taught(unbroken, LESSONS[2])
    for name, weight in unbroken.learner.parameters.items():
        assert torch.equal(weight, resumed.learner.parameters[name]), name


def test_a_state_saved_before_the_first_update_resumes_too(
    make_policy: Callable[..., WhiteBox], tmp_path: Path
) -> None:
    start = make_policy()
    _save(start, tmp_path)
    resumed = make_policy()
    load_training_state(resumed, tmp_path)
    assert taught(resumed, LESSONS[0]) == taught(start, LESSONS[0])


@pytest.mark.parametrize(
    ("tuning", "optimizer"),
    [(FullTuning(), ADAMW), (LoraTuning(rank=2), ADAMW), (LORA, SGD)],
)
def test_another_policys_state_is_refused_and_changes_nothing(
    make_policy: Callable[..., WhiteBox], tmp_path: Path, tuning: Tuning, optimizer: OptimizerConfig
) -> None:
    saved = make_policy(LORA, ADAMW)
    _learn(saved, 1)
    _save(saved, tmp_path)
    other = make_policy(tuning, optimizer)
    before = {name: p.clone() for name, p in other.learner.parameters.items()}
    with pytest.raises(StateMismatch):
        load_training_state(other, tmp_path)
    assert other.version == 0
    assert all(torch.equal(before[n], p) for n, p in other.learner.parameters.items())


def _means(model: Any, policy: WhiteBox, prompt: Prompt, samples: Sequence[Sample]) -> list[float]:
    """Token means by plain forwards of the reloaded model, without any of our scoring code."""
    ids = policy.speaker.prompt_ids(prompt.messages)
    means = []
    for sample in samples:
        with torch.no_grad():
            logits = model(torch.tensor([ids + sample.tokens])).logits[0, len(ids) - 1 : -1]
        chosen = logits.log_softmax(-1).gather(-1, torch.tensor(sample.tokens)[:, None])
        means.append(chosen.mean().item())
    return means


def test_plain_peft_and_plain_transformers_reproduce_the_policy(
    make_policy: Callable[..., WhiteBox], chat_model: Path, tmp_path: Path
) -> None:
    policy = make_policy()
    start = _scored(policy, sampled(policy, ASKED)[0])
    _learn(policy, 3)
    (samples,) = sampled(policy, ASKED)
    want = _scored(policy, samples)
    assert want != pytest.approx(start, abs=1e-2)
    _save(policy, tmp_path, merged=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft's own use of transformers
        base = AutoModelForCausalLM.from_pretrained(chat_model)
        adapted = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    assert _means(adapted, policy, PROMPT, samples) == pytest.approx(want, abs=1e-4)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert _means(merged, policy, PROMPT, samples) == pytest.approx(want, abs=1e-4)
    assert _scored(policy, samples) == want


def test_full_tuning_saves_the_model_itself_and_no_adapter(
    make_policy: Callable[..., WhiteBox], tmp_path: Path
) -> None:
    policy = make_policy(FullTuning(), replace(ADAMW, lr=1e-3))
    _learn(policy, 2)
    _save(policy, tmp_path, adapter=True, merged=True)
    assert not (tmp_path / "adapter").exists()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    for name, weight in policy.learner.parameters.items():
        assert torch.equal(merged.state_dict()[name], weight)


def test_a_checkpoint_is_readable_by_others_holds_no_pickle_and_no_path(
    make_policy: Callable[..., WhiteBox], chat_model: Path, tmp_path: Path
) -> None:
    policy = make_policy()
    _learn(policy, 1)
    _save(policy, tmp_path, merged=True, card="# A tiny model")
    files = {str(f.relative_to(tmp_path)): f for f in tmp_path.rglob("*") if f.is_file()}
    assert {f.suffix for f in files.values()} <= {".safetensors", ".json", ".jinja", ".md"}
    assert {stat.S_IMODE(f.stat().st_mode) for f in files.values()} == {0o644}
    assert set(files) >= {
        "README.md",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "adapter/chat_template.jinja",
        "merged/chat_template.jinja",
        "merged/config.json",
        "merged/generation_config.json",
        "merged/model.safetensors",
        "training_state/state.json",
    }
    texts = [f.read_text() for f in files.values() if f.suffix != ".safetensors"]
    assert not any(str(chat_model) in text for text in texts)
    config = json.loads(files["adapter/adapter_config.json"].read_text())
    assert config["base_model_name_or_path"] == "tiny"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert tokenizer.chat_template == policy.speaker.chat.tokenizer.chat_template


def test_saving_twice_gives_the_same_bytes(
    make_policy: Callable[..., WhiteBox], tmp_path: Path
) -> None:
    for name in ("one", "two"):
        policy = make_policy()
        _learn(policy, 1)
        _save(policy, tmp_path / name, merged=True)
    for file in (tmp_path / "one").rglob("*"):
        if file.is_file():
            twin = tmp_path / "two" / file.relative_to(tmp_path / "one")
            assert file.read_bytes() == twin.read_bytes(), file.name
