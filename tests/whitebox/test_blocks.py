"""Our blocks beside the library's that they stand for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPTNeoXConfig, LlamaConfig, Qwen2Config, Qwen3Config
from transformers.models.auto import AutoModelForCausalLM

from tests.whitebox.conftest import ADAMW, GENERATION, LORA
from tests.whitebox.native.conftest import close
from worker.objectives.reward import PairwiseLogistic
from worker.whitebox.attention import share_prompts
from worker.whitebox.blocks import use_plain_blocks
from worker.whitebox.frozen import Layout
from worker.whitebox.load import FolderModel
from worker.whitebox.opening import Learning, make_reward_trainable, open_speaker
from worker.whitebox.policy import WhiteBox
from worker.whitebox.strips import SharedPrompt, Texts
from worker.whitebox.tuning import tune

ALIKE = [
    Texts((5, 80, 13, 44), ((7, 9, 11), (3, 1, 4))),
    Texts((9, 6, 2, 8), ((1, 1, 2), (250, 8, 4))),
]
UNLIKE = [Texts((5, 80, 13, 44), ((7, 9, 11), (3, 1, 4, 1, 5, 9, 2), (250, 8)))]
SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}


def _warm(model: Any) -> None:
    """Give adapters and norms weights that would be missed."""
    draw = torch.Generator().manual_seed(1)
    for name, weight in model.named_parameters():
        if "lora_B" in name or "norm" in name:
            weight.data += 0.3 * torch.randn(weight.shape, generator=draw)


def _gradients(policy: WhiteBox, texts: list[Texts]) -> tuple[Tensor, list[Tensor]]:
    means = torch.cat(policy.learner.scorer.means(texts))
    slopes = torch.linspace(-1, 2, len(means))
    return means, list(torch.autograd.grad(means, list(policy.learner.parameters.values()), slopes))


@pytest.mark.parametrize("texts", [ALIKE, UNLIKE])
@pytest.mark.parametrize("shared_prompt", ["on", "off"])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("layout", ["joined", "packed"])
def test_means_and_gradients_are_those_of_the_librarys_blocks(
    make_policy: Callable[..., WhiteBox],
    shared_prompt: SharedPrompt,
    texts: list[Texts],
    checkpointing: bool,
    layout: Layout,
) -> None:
    learning = Learning(shared_prompt, checkpointing=checkpointing, layout=layout)
    _compare(make_policy(learning=learning), texts)


@pytest.mark.parametrize("shared_prompt", ["on", "off"])
def test_rewards_and_gradients_are_those_of_the_librarys_blocks(
    chat_model: Path, shared_prompt: SharedPrompt
) -> None:
    policy = make_reward_trainable(
        open_speaker(FolderModel(chat_model), GENERATION),
        LORA,
        PairwiseLogistic(),
        ADAMW,
        total_updates=10,
        learning=Learning(shared_prompt, layout="joined"),
    )
    _compare(policy, UNLIKE)


def _compare(policy: WhiteBox, texts: list[Texts]) -> None:
    """Means and gradients by ours and by the library's blocks."""
    _warm(policy.learner.scorer.model)
    layers = policy.learner.scorer.model.get_base_model().model.layers
    assert all("forward" in vars(layer) for layer in layers)
    ours = _gradients(policy, texts)
    use_plain_blocks(policy.learner.scorer.model)
    theirs = _gradients(policy, texts)
    assert torch.allclose(ours[0], theirs[0], atol=1e-5)
    for one, other in zip(ours[1], theirs[1], strict=True):
        assert close(one, other)


def test_an_adapter_that_changes_before_the_way_back_is_told(
    make_policy: Callable[..., WhiteBox],
) -> None:
    learner = make_policy().learner
    [means] = learner.scorer.means(UNLIKE)
    with torch.no_grad():
        next(iter(learner.parameters.values())).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(means.sum(), list(learner.parameters.values()))


def _tuned(config: Any, layout: Layout = "joined") -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    share_prompts(model)
    return tune(model, LORA, layout=layout).get_base_model()


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SIZES),
        LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True),
        Qwen2Config(**SIZES),
    ],
)
@pytest.mark.parametrize("layout", ["joined", "packed"])
def test_logits_of_padded_rows_are_the_librarys(config: Any, layout: Layout) -> None:
    base = _tuned(config, layout)
    assert all("forward" in vars(layer) for layer in base.model.layers)
    _warm(base)
    tokens = torch.arange(12).view(2, 6)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    with torch.no_grad():
        ours = base(tokens, attention_mask=mask).logits
        use_plain_blocks(base)
        theirs = base(tokens, attention_mask=mask).logits
    assert torch.allclose(ours[mask.bool()], theirs[mask.bool()], atol=1e-5)


@pytest.mark.parametrize("config", [Qwen3Config(**SIZES), LlamaConfig(**SIZES, hidden_act="gelu")])
def test_a_block_that_computes_something_else_stays_as_it_is(config: Any) -> None:
    assert not any("forward" in vars(layer) for layer in _tuned(config).model.layers)


def test_a_model_without_such_blocks_stays_as_it_is() -> None:
    config = GPTNeoXConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=0,
        eos_token_id=0,
    )
    assert not any("forward" in vars(layer) for layer in _tuned(config).gpt_neox.layers)
