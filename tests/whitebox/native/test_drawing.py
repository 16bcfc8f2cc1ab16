"""Tokens drawn by the kernels."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.whitebox.native.conftest import Draw, close
from worker.whitebox.draw import draw as plain_draw
from worker.whitebox.native.drawing import draw as drawn
from worker.whitebox.native.drawing import soften


def test_a_token_is_where_the_cumulative_probability_passes_the_uniform() -> None:
    # probabilities 1/2, 1/4, 1/8, 1/8
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log().repeat(6, 1)
    uniform = torch.tensor([0.0, 0.49, 0.51, 0.74, 0.76, 0.9999], dtype=torch.float64)
    tokens, logprobs = drawn(logits, uniform, 1.0, 1.0)
    assert tokens.tolist() == [0, 0, 1, 1, 2, 3]
    assert logprobs.tolist() == pytest.approx(
        [-math.log(2)] * 2 + [-math.log(4)] * 2 + [-math.log(8)] * 2
    )


@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.3])
@pytest.mark.parametrize("temperature", [1.0, 0.7, 2.0])
@pytest.mark.parametrize("vocabulary", [5, 128, 259, 8192])
def test_tokens_are_those_of_torch_and_logprobs_are_raw(
    draw: Draw, temperature: float, vocabulary: int, top_p: float
) -> None:
    logits = 3 * draw(40, vocabulary)
    uniform = torch.rand(40, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    tokens, logprobs = drawn(logits, uniform, temperature, top_p)
    assert torch.equal(tokens, plain_draw(logits, uniform, temperature, top_p))
    raw = logits.double().log_softmax(-1).gather(1, tokens[:, None])[:, 0]
    assert close(logprobs, raw)


def test_a_draw_does_not_depend_on_the_rows_beside_it(draw: Draw) -> None:
    logits, uniform = draw(9, 259), torch.linspace(0, 0.99, 9, dtype=torch.float64)
    tokens, logprobs = drawn(logits, uniform, 1.0, 1.0)
    for row in range(9):
        token, logprob = drawn(logits[row : row + 1], uniform[row : row + 1], 1.0, 1.0)
        assert (token[0], logprob[0]) == (tokens[row], logprobs[row])


def test_what_has_no_chance_is_not_drawn() -> None:
    logits = torch.full((1, 300), float("-inf"))
    logits[0, 217] = -3.0
    for uniform in (0.0, 0.5, 1 - 1e-12):
        token, logprob = drawn(logits, torch.tensor([uniform], dtype=torch.float64), 1.0, 1.0)
        assert (token.item(), logprob.item()) == (217, 0.0)


@pytest.mark.parametrize("draw_by", [plain_draw, lambda *given: drawn(*given)[0]])
def test_of_equal_tokens_the_nucleus_takes_the_first(draw_by: Callable[..., Tensor]) -> None:
    logits = torch.zeros(1, 5000)
    logits[0, 4000:4002] = 1.0
    # weights of 4998 + 2 e: half of them have the two and the first 2497 of the others
    highest = draw_by(logits, torch.tensor([1 - 1e-9], dtype=torch.float64), 1.0, 0.5)
    assert highest.tolist() == [4001]
    within = draw_by(logits, torch.tensor([0.9978], dtype=torch.float64), 1.0, 0.5)
    assert within.tolist() == [2496]


def test_numbers_that_are_none_give_a_token_and_a_logprob_that_is_none() -> None:
    logits = torch.full((1, 300), float("nan"))
    for top_p in (1.0, 0.9):
        token, logprob = drawn(logits, torch.tensor([0.5], dtype=torch.float64), 1.0, top_p)
        assert 0 <= token.item() < 300
        assert logprob.isnan().all()


@pytest.mark.parametrize("vocabulary", [5, 259])
def test_logits_become_probabilities_in_place(draw: Draw, vocabulary: int) -> None:
    logits, target = 3 * draw(7, vocabulary), torch.arange(7) % vocabulary
    wanted = logits.double().log_softmax(-1)
    logprobs = soften(logits, target)
    assert close(logits, wanted.exp())
    assert close(logprobs, wanted.gather(1, target[:, None])[:, 0])
