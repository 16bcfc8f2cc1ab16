"""Attention behind a shared prompt, beside the same attention with a mask over all pairs."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DeepseekV3Config, LlamaConfig

from worker.whitebox.attention import can_share
from worker.whitebox.strips import Strip, inputs_of
from worker.whitebox.tree import attend

PROMPT = (5, 80, 13, 44, 9)
SCALE = 0.3


def _strip(*lengths: int) -> Strip:
    """One row of a prompt and responses of so many tokens."""
    return Strip(PROMPT, tuple(tuple(range(1, 1 + length)) for length in lengths))


def _masked(query: Tensor, key: Tensor, value: Tensor, strip: Strip) -> Tensor:
    mask = inputs_of([strip], torch.device("cpu"))["attention_mask"]
    return torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=SCALE, enable_gqa=True
    )


@pytest.mark.parametrize("lengths", [(4, 7, 2), (3, 1, 60), (1, 2), (40, 40)])
@pytest.mark.parametrize("shared_heads", [2, 6])
def test_a_tree_is_attended_to_as_with_a_mask_in_values_and_gradients(
    lengths: tuple[int, ...], shared_heads: int
) -> None:
    strip, draw = _strip(*lengths), torch.Generator().manual_seed(1)
    # as a model makes them: heads after tokens in memory
    shapes = [(1, len(strip), heads, 16) for heads in (6, shared_heads, shared_heads)]
    query, key, value = parts = [
        torch.randn(shape, generator=draw).transpose(1, 2).requires_grad_() for shape in shapes
    ]
    ours = attend(query, key, value, strip.tree, SCALE)
    theirs = _masked(query, key, value, strip)
    assert torch.allclose(ours, theirs, atol=1e-6)
    slopes = torch.randn(theirs.shape, generator=draw)
    for one, other in zip(
        torch.autograd.grad(ours, parts, slopes),
        torch.autograd.grad(theirs, parts, slopes),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_tree_stands_in_for_the_mask_of_a_single_row_only() -> None:
    device = torch.device("cpu")
    alone = inputs_of([_strip(3, 2)], device, trees=True)
    assert alone["tree"].prompt == len(PROMPT)
    assert alone["tree"].responses == (2, 1)
    for strips in ([_strip(3, 2), _strip(4, 4)], [_strip(1, 1)]):
        assert "tree" not in inputs_of(strips, device, trees=True)
    assert "tree" not in inputs_of([_strip(3, 2)], device)


@pytest.mark.parametrize(("config", "shares"), [(LlamaConfig, True), (DeepseekV3Config, False)])
def test_a_model_whose_values_are_shorter_than_its_keys_shares_no_prompt(
    config: type[Any], shares: bool
) -> None:
    model = SimpleNamespace(config=config(), _supports_attention_backend=True)
    assert can_share(model) is shares
