"""Our own products, of adapters and of the head, beside the plain ones they stand for."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft.tuners.lora import Linear

from tests.whitebox.conftest import LORA
from worker.whitebox import logprobs
from worker.whitebox.blocks import use_plain_blocks
from worker.whitebox.frozen import LAYOUTS, FrozenLayer
from worker.whitebox.logprobs import chosen_logprobs
from worker.whitebox.lora import sums_of
from worker.whitebox.opening import Learning
from worker.whitebox.policy import WhiteBox
from worker.whitebox.sample import Generation
from worker.whitebox.strips import Texts
from worker.whitebox.tuning import FullTuning, Tuning

TEXTS = Texts((5, 80, 13, 44), ((7, 9, 11), (3, 1, 4, 1, 5, 9, 2), (250, 8)))


def _adapter(policy: WhiteBox) -> Any:
    layers = policy.speaker.model.modules()
    layer = next(layer for layer in layers if type(layer) is Linear)
    torch.nn.init.normal_(
        layer.lora_B["default"].weight, generator=torch.Generator().manual_seed(1)
    )
    return layer


def test_an_adapted_product_and_its_gradients_are_pefts(
    make_policy: Callable[..., WhiteBox],
) -> None:
    layer = _adapter(make_policy())
    inputs = torch.randn(2, 5, layer.in_features, generator=torch.Generator().manual_seed(2))
    wanted = [
        inputs.requires_grad_(),
        layer.lora_A["default"].weight,
        layer.lora_B["default"].weight,
    ]
    ours = layer(inputs)
    theirs = Linear.forward(layer, inputs)
    assert layer.forward != Linear.forward
    assert torch.allclose(ours, theirs, atol=1e-5)
    slopes = torch.randn(ours.shape, generator=torch.Generator().manual_seed(3))
    for one, other in zip(
        torch.autograd.grad(ours, wanted, slopes),
        torch.autograd.grad(theirs, wanted, slopes),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-4)
    with torch.no_grad():
        assert torch.allclose(layer(inputs), theirs, atol=1e-5)


def test_layers_of_one_input_are_multiplied_as_one_in_any_order_of_asking(
    make_policy: Callable[..., WhiteBox],
) -> None:
    base = make_policy().speaker.model.get_base_model()
    attention = base.model.layers[0].self_attn
    layers = [attention.q_proj, attention.k_proj, attention.v_proj]
    stack = layers[0].forward.func.__self__
    assert stack.layers == layers
    draw = torch.Generator().manual_seed(2)
    for layer in layers:
        torch.nn.init.normal_(layer.lora_B["default"].weight, generator=draw)
    one, other = (torch.randn(5, layers[0].in_features, generator=draw) for _ in range(2))
    with torch.no_grad():
        for which, x in ((0, one), (1, one), (2, one), (2, other), (0, other), (1, one), (2, one)):
            wanted = Linear.forward(layers[which], x)
            assert torch.allclose(layers[which](x), wanted, atol=1e-5)


def test_the_gradient_of_layers_multiplied_as_one_is_pefts(
    make_policy: Callable[..., WhiteBox],
) -> None:
    base = make_policy().speaker.model.get_base_model()
    mlp, draw = base.model.layers[0].mlp, torch.Generator().manual_seed(2)
    layers = [mlp.gate_proj, mlp.up_proj]
    x = torch.randn(5, mlp.hidden_size, generator=draw).requires_grad_()
    for layer in layers:
        torch.nn.init.normal_(layer.lora_B["default"].weight, generator=draw)
    sides = [side["default"] for layer in layers for side in (layer.lora_A, layer.lora_B)]
    wanted = [x, *(side.weight for side in sides)]
    slopes = torch.randn(5, mlp.intermediate_size, generator=draw)
    ours = layers[0](x) * layers[1](x)
    theirs = Linear.forward(layers[0], x) * Linear.forward(layers[1], x)
    for one, other in zip(
        torch.autograd.grad(ours, wanted, slopes),
        torch.autograd.grad(theirs, wanted, slopes),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_a_packed_product_is_the_plain_one_in_both_directions(
    rows: int, dtype: torch.dtype, close: float
) -> None:
    draw = torch.Generator().manual_seed(5)
    layer = torch.nn.Linear(24, 40, dtype=dtype).requires_grad_(requires_grad=False)
    torch.nn.init.normal_(layer.bias, generator=draw)
    inputs = torch.randn(rows, 24, generator=draw).to(dtype)
    slopes = torch.randn(rows, 40, generator=draw).to(dtype)
    packed = FrozenLayer(layer, packed=True)
    for _ in range(2):
        assert torch.allclose(packed.forward(inputs), layer(inputs), atol=close, rtol=close)
        assert torch.allclose(packed.back(slopes), slopes @ layer.weight, atol=close, rtol=close)
        layer.weight.mul_(-2)  # as merging adapters into it would


@pytest.mark.parametrize("packed", [False, True])
def test_layers_of_one_input_are_multiplied_as_one(packed: bool) -> None:
    torch.manual_seed(5)
    layers = [torch.nn.Linear(24, size).requires_grad_(requires_grad=False) for size in (40, 16)]
    as_one = FrozenLayer(*layers, packed=packed)
    inputs, slopes = torch.randn(7, 24), torch.randn(7, 56)
    for _ in range(2):
        outputs = torch.cat([layer(inputs) for layer in layers], 1)
        back = slopes[:, :40] @ layers[0].weight + slopes[:, 40:] @ layers[1].weight
        assert torch.allclose(as_one.forward(inputs), outputs, atol=1e-5)
        assert torch.allclose(as_one.back(slopes), back, atol=1e-5)
        layers[1].weight.mul_(-2)  # as merging adapters into it would


def test_a_layout_changes_no_gradient_but_in_the_last_bits(
    make_policy: Callable[..., WhiteBox],
) -> None:
    gradients = []
    for layout in LAYOUTS:
        learner = make_policy(LORA, learning=Learning(layout=layout)).learner
        use_plain_blocks(learner.scorer.model)  # which round in another order
        [means] = learner.scorer.means([TEXTS])
        gradients.append(torch.autograd.grad(means.sum(), list(learner.parameters.values())))
    for own, *others in zip(*gradients, strict=True):
        assert all(torch.allclose(own, other, atol=1e-6) for other in others)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("most_logits", [logprobs.MOST_LOGITS, 100])
def test_chosen_logprobs_are_those_of_a_whole_softmax(
    frozen: bool, most_logits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logprobs, "MOST_LOGITS", most_logits)
    draw = torch.Generator().manual_seed(4)
    head = torch.nn.Linear(6, 30).requires_grad_(not frozen)
    hidden = torch.randn(11, 6, generator=draw).requires_grad_()
    target = torch.randint(30, (11,), generator=draw)
    plain = head(hidden).log_softmax(-1).gather(-1, target[:, None]).squeeze(-1)
    ours = chosen_logprobs(hidden, head, target)
    assert torch.allclose(ours, plain, atol=1e-6)
    wanted = [hidden] if frozen else [hidden, head.weight, head.bias]
    slopes = torch.randn(11, generator=draw)
    for one, other in zip(
        torch.autograd.grad(ours, wanted, slopes),
        torch.autograd.grad(plain, wanted, slopes),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("tuning", [LORA, FullTuning()])
def test_dropping_activations_changes_no_gradient(
    make_policy: Callable[..., WhiteBox], tuning: Tuning
) -> None:
    gradients = []
    for checkpointing in (False, True):
        learner = make_policy(tuning, learning=Learning(checkpointing=checkpointing)).learner
        [means] = learner.scorer.means([TEXTS])
        assert not learner.scorer.model.training
        gradients.append(torch.autograd.grad(means.sum(), list(learner.parameters.values())))
    for one, other in zip(*gradients, strict=True):
        # it goes through the library's blocks, which round in another order than ours
        assert torch.allclose(one, other, atol=1e-5, rtol=1e-4)


def test_sampling_adds_the_adapters_into_a_copy_that_follows_the_weights(
    make_policy: Callable[..., WhiteBox],
) -> None:
    policy = make_policy()
    layer, base = _adapter(policy), policy.speaker.model.get_base_model()
    inputs = torch.randn(5, layer.in_features, generator=torch.Generator().manual_seed(2))
    sums = sums_of(base)
    for _ in range(2):
        with torch.no_grad():
            layer.lora_B["default"].weight.mul_(-2)
            sums.renew()
            apart = layer(inputs)
            with sums.in_use():
                together = layer(inputs)
        assert torch.allclose(together, apart, atol=1e-4)
        assert not torch.equal(together, apart)
    assert not any(stack.merged for stack in sums.stacks)


def test_a_bfloat16_base_is_sampled_with_its_adapters_apart(
    make_policy: Callable[..., WhiteBox],
) -> None:
    policy = make_policy(generation=Generation(24, max_length=200, precision="bfloat16"))
    sums = sums_of(policy.speaker.model.get_base_model())
    sums.renew()
    with sums.in_use():
        assert not any(stack.merged for stack in sums.stacks)
