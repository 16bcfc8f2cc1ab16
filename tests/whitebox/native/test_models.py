"""Whole models by the kernels, beside the same models by torch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GraniteConfig, LlamaConfig, OPTConfig, Qwen2Config
from transformers.models.auto import AutoModelForCausalLM

from tests.tiny import tiny_model_folder
from worker.objectives.pro import Pro
from worker.whitebox import attending
from worker.whitebox.attention import share_prompts
from worker.whitebox.decoder import decoder_of
from worker.whitebox.frozen import Layout
from worker.whitebox.load import FolderModel
from worker.whitebox.opening import Learning, make_trainable, open_speaker
from worker.whitebox.policy import WhiteBox
from worker.whitebox.sample import Drawn, Generation, Row
from worker.whitebox.schedule import OptimizerConfig
from worker.whitebox.strips import SharedPrompt, Texts
from worker.whitebox.tuning import LoraTuning, tune

LORA = LoraTuning(rank=16)
SIZES: dict[str, Any] = {
    "vocab_size": 259,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
}
TEXTS = Texts((5, 80, 13, 44), ((7, 9, 11), (3, 1, 4, 1, 5, 9, 2), (250, 8)))
ROWS = [
    Row((5, 80, 13)[:length], seed, limit)
    for seed, (length, limit) in enumerate(((3, 20), (3, 7), (1, 13), (2, 20), (2, 1)))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with heads of 32."""
    path = tiny_model_folder(tmp_path_factory.mktemp("kernels"), chat_template=True)
    torch.manual_seed(0)
    config = LlamaConfig(**SIZES, initializer_range=0.2, tie_word_embeddings=True)
    AutoModelForCausalLM.from_config(config).save_pretrained(path)
    return path


def _policy(
    folder: Path,
    *,
    compiled: bool,
    shared_prompt: SharedPrompt = "auto",
    layout: Layout = "joined",
) -> WhiteBox:
    learning = Learning(shared_prompt, layout=layout, compiled=compiled)
    policy = make_trainable(
        open_speaker(FolderModel(folder), Generation(max_new_tokens=24, max_length=200)),
        LORA,
        Pro(),
        OptimizerConfig(lr=1e-2),
        total_updates=10,
        seed=1,
        learning=learning,
    )
    base = policy.speaker.model.get_base_model()
    assert (decoder_of(base) is not None) == compiled
    _warm(base)
    return policy


def _warm(base: Any) -> None:
    """Give adapters and norms weights that would be missed."""
    draw = torch.Generator().manual_seed(1)
    for name, weight in base.named_parameters():
        if "lora_B" in name or "norm" in name:
            weight.data += 0.1 * torch.randn(weight.shape, generator=draw)


def _sampled(policy: WhiteBox, rows: list[Row]) -> list[Drawn]:
    found = dict(policy.speaker.sampler.sample(rows, 0))
    return [found[i] for i in range(len(rows))]


def test_samples_are_those_without_kernels(folder: Path) -> None:
    ours, theirs = (_sampled(_policy(folder, compiled=c), ROWS) for c in (True, False))
    for one, other in zip(ours, theirs, strict=True):
        assert one.tokens == other.tokens
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_samples_follow_the_weights(folder: Path) -> None:
    policy = _policy(folder, compiled=True)
    before = _sampled(policy, ROWS)
    _warm(policy.speaker.model.get_base_model())
    again = _sampled(policy, ROWS)
    assert [one.logprobs for one in before] != [one.logprobs for one in again]


@pytest.mark.parametrize("shared_prompt", ["on", "off"])
@pytest.mark.parametrize("layout", ["joined", "packed"])
def test_means_and_gradients_are_those_without_kernels(
    folder: Path, shared_prompt: SharedPrompt, layout: Layout
) -> None:
    ours, theirs = (
        _gradients(_policy(folder, compiled=one, shared_prompt=shared_prompt, layout=layout))
        for one in (True, False)
    )
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-5, rtol=1e-4)


def test_long_texts_are_attended_to_by_torch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_kernels = _gradients(_policy(folder, compiled=True))
    monkeypatch.setattr(attending, "MOST_SCORES", 100)
    by_torch = _gradients(_policy(folder, compiled=True))
    assert not all(torch.equal(*each) for each in zip(by_kernels, by_torch, strict=True))
    for one, other in zip(by_kernels, by_torch, strict=True):
        assert torch.allclose(one, other, atol=1e-5, rtol=1e-4)


def _gradients(policy: WhiteBox) -> list[Tensor]:
    [means] = policy.learner.scorer.means([TEXTS])
    slopes = torch.linspace(-1, 2, len(means))
    weights = list(policy.learner.parameters.values())
    return [means, *torch.autograd.grad(means, weights, slopes)]


def test_two_runs_are_equal_in_every_bit(folder: Path) -> None:
    ours, again = (_gradients(_policy(folder, compiled=True)) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(ours, again, strict=True))


def _tuned(config: Any, *, compiled: bool = True) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    share_prompts(model)
    return tune(model, LORA, layout="joined", compiled=compiled).get_base_model()


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True),
        Qwen2Config(**{**SIZES, "num_key_value_heads": 2}),
    ],
)
def test_models_with_biases_decode_by_the_kernels(config: Any) -> None:
    assert decoder_of(_tuned(config)) is not None


@pytest.mark.parametrize(
    "config",
    [
        GraniteConfig(**SIZES, logits_scaling=4.0),
        GraniteConfig(**SIZES, embedding_multiplier=3.0),
        LlamaConfig(**{**SIZES, "head_dim": 24}),
        LlamaConfig(**{**SIZES, "hidden_size": 40}),
        LlamaConfig(**SIZES, hidden_act="gelu"),
        LlamaConfig(
            **SIZES, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
        ),
    ],
)
def test_a_model_that_has_more_in_it_or_other_widths_decodes_as_the_library_does(
    config: Any,
) -> None:
    assert decoder_of(_tuned(config)) is None


def test_a_model_of_another_build_stays_the_librarys() -> None:
    sizes = {"vocab_size": 64, "hidden_size": 32, "ffn_dim": 48, "word_embed_proj_dim": 32}
    base = _tuned(OPTConfig(**sizes, num_hidden_layers=2, num_attention_heads=2))
    assert decoder_of(base) is None
    assert base(torch.arange(6)[None]).logits.shape == (1, 6, 64)


def test_a_base_of_mixed_precision_is_left_to_torch() -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SIZES)).eval()
    share_prompts(model)
    model.model.layers[1].to(torch.bfloat16)
    layer = tune(model, LORA, layout="joined").get_base_model().model.layers[1].mlp.down_proj
    assert not layer.forward.func.__self__.compiled


def test_a_model_decodes_as_the_library_does_where_that_is_asked_for() -> None:
    assert decoder_of(_tuned(LlamaConfig(**SIZES), compiled=False)) is None


def test_a_response_does_not_depend_on_those_beside_it(folder: Path) -> None:
    policy = _policy(folder, compiled=True)
    together = _sampled(policy, [replace(row, prompt=(5, 80, 13)) for row in ROWS])
    for row, drawn in zip(ROWS, together, strict=True):
        [alone] = _sampled(policy, [replace(row, prompt=(5, 80, 13))])
        assert alone == drawn
