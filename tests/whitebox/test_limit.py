"""The limit's operations against a count of what torch runs, and its seconds by hand."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from worker.cycle.meter import Meter
from worker.whitebox.calibration import (
    decode_rate,
    model_shapes,
    optimizer_seconds,
    peak_flops,
    quick_limit,
)
from worker.whitebox.figures import Gauge, peak_memory
from worker.whitebox.limit import Limit, Products, products, widths
from worker.whitebox.tuning import FullTuning, LoraTuning, Tuning, tune

CPU = torch.device("cpu")
ROWS, LENGTH, LAYERS = 2, 32, 8
SQUARES = ROWS * LENGTH**2
"""Eager attention computes the masked half as well, and the counter counts it."""


def llama() -> Any:
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_implementation="eager",
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()


def counted(model: Any, *, backward: bool) -> int:
    """Operations of one pass over (ROWS, LENGTH) tokens, as torch counts them."""
    tokens = torch.arange(ROWS * LENGTH).view(ROWS, LENGTH)
    with FlopCounterMode(display=False) as counter:
        logits = model(tokens, use_cache=False).logits
        if backward:
            logits.square().mean().backward()
    return int(counter.get_total_flops())


def test_a_forward_pass_is_counted_as_torch_counts_it() -> None:
    model = llama()
    tokens = ROWS * LENGTH
    expected = counted(model, backward=False)
    assert products(model).forward(tokens, tokens, SQUARES) == pytest.approx(expected, rel=0.001)


@pytest.mark.parametrize("tuning", [FullTuning(), LoraTuning(rank=4)], ids=["full", "lora"])
def test_a_training_pass_is_counted_as_torch_counts_it(tuning: Tuning) -> None:
    model = tune(llama(), tuning)
    tokens = ROWS * LENGTH
    expected = counted(model, backward=True)
    assert products(model).training(tokens, tokens, SQUARES) == pytest.approx(expected, rel=0.05)


def test_adapters_change_no_count_but_their_own() -> None:
    plain, adapted = products(llama()), products(tune(llama(), LoraTuning(rank=4)))
    assert (adapted.body, adapted.head, adapted.pair) == (plain.body, plain.head, plain.pair)
    assert plain.adapter == 0
    inner_and_outer = 2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 160)
    assert adapted.adapter == 2 * 4 * LAYERS * inner_and_outer
    assert (plain.frozen, adapted.frozen) == (False, True)


def test_the_widest_layers_come_first() -> None:
    assert set(widths(llama())[:2]) == {(64, 160), (160, 64)}


HAND = Products(body=10, adapter=1, head=100, pair=2, frozen=True)


def test_seconds_by_hand() -> None:
    limit = Limit(HAND, peak=1000, decode_seconds=0.01, optimizer_seconds=0.5)
    # prefill 10x8 + 2x36; training 2x(10x28 + 100x20) + 3x(1x28 + 2x206); decoding 20x0.01
    assert limit.seconds(8, 20, 8, 20, 1, prompt_pairs=36, trained_pairs=206) == pytest.approx(
        (80 + 72 + 4560 + 1320) / 1000 + 0.2 + 0.5
    )
    assert limit.seconds(8, 0, 0, 0, 0) == pytest.approx(0.08)


def test_frozen_weights_cost_four_operations_and_trained_ones_six() -> None:
    trained = Products(body=10, adapter=0, head=0, pair=0, frozen=False)
    assert HAND.training(1, 0) == 4 * 5 + 3
    assert trained.training(1, 0) == 6 * 5


def test_efficiency_is_the_limit_over_the_time_it_took() -> None:
    now = [0.0]
    meter = Meter(lambda: now[0])
    limit = Limit(HAND, peak=1000, decode_seconds=0.01, optimizer_seconds=0.5)
    gauge = Gauge(meter, limit, CPU)
    assert gauge.figures() == {}
    meter.learned([])
    now[0] += 2
    figures = gauge.figures()
    assert figures["speed/efficiency"] == 0.25
    assert figures["memory/peak"] == pytest.approx(peak_memory(CPU), rel=0.1)
    assert not any(name.startswith("work/") for name in figures)


@pytest.mark.parametrize("tuning", [FullTuning(), LoraTuning(rank=4)], ids=["full", "lora"])
def test_a_calibration_leaves_model_and_draws_as_they_were(tuning: Tuning) -> None:
    model = tune(llama(), tuning)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    draws = torch.random.get_rng_state()
    limit = quick_limit(model, rows=4, seconds=0.01)
    assert limit.seconds(16, 32, 16, 32, 1) > limit.seconds(16, 32, 0, 0, 0) > 0
    decode_rate(model, 2, context=16, steps=2)
    optimizer_seconds([weight for weight in model.parameters() if weight.requires_grad])
    assert torch.equal(torch.random.get_rng_state(), draws)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]), name
    assert all(weight.grad is None for weight in model.parameters())


def test_rates_are_positive_in_both_precisions() -> None:
    shapes = model_shapes(llama(), CPU)
    assert len(shapes) == 3
    for dtype in (torch.float32, torch.bfloat16):
        assert peak_flops(dtype, CPU, seconds=0.01, shapes=shapes) > 0
        assert decode_rate(llama().to(dtype), 2, context=8, steps=2) > 0
    assert optimizer_seconds([torch.zeros(8)]) > 0


def test_peak_memory_is_in_bytes() -> None:
    assert peak_memory(CPU) > 50e6
