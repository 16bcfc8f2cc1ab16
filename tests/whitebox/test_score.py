import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.whitebox.conftest import LORA, ask, lesson
from worker.cycle.ports import SampleRequest
from worker.objectives.rrhf import Rrhf
from worker.whitebox.learn import Learner, Lesson
from worker.whitebox.policy import Speaker, WhiteBox
from worker.whitebox.schedule import OptimizerConfig
from worker.whitebox.score import response_logprobs, token_logprobs
from worker.whitebox.tuning import FullTuning, Tuning

PROMPT = (5, 80, 13, 44, 97, 200)
SHORT, LONG, OTHER = (7, 9, 11), (3, 1, 4, 1, 5, 9, 2), (250, 8)


def _by_hand(model: Any, response: tuple[int, ...]) -> Any:
    """Summed log-probability from one plain forward of prompt and response."""
    logits = model(torch.tensor([PROMPT + response])).logits[0, len(PROMPT) - 1 : -1]
    return logits.log_softmax(-1).gather(-1, torch.tensor(response)[:, None]).sum()


def test_a_score_is_that_of_a_plain_forward_whatever_stands_beside_it(speaker: Speaker) -> None:
    model = speaker.model
    together, counts = response_logprobs(model, PROMPT, [SHORT, LONG, OTHER])
    assert counts.tolist() == [3, 7, 2]
    for got, response in zip(together, (SHORT, LONG, OTHER), strict=True):
        assert got.item() == pytest.approx(_by_hand(model, response).item(), abs=1e-5)
        alone, _ = response_logprobs(model, PROMPT, [response])
        assert got.item() == pytest.approx(alone.item(), abs=1e-5)


def test_sharing_the_prompt_gives_the_gradient_of_separate_sequences(speaker: Speaker) -> None:
    model = speaker.model.requires_grad_(requires_grad=True)
    sums, counts = response_logprobs(model, PROMPT, [SHORT, LONG])
    shared = torch.autograd.grad((sums / counts).sum(), list(model.parameters()))
    apart = _by_hand(model, SHORT) / 3 + _by_hand(model, LONG) / 7
    plain = torch.autograd.grad(apart, list(model.parameters()))
    for ours, theirs in zip(shared, plain, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_scoring_in_chunks_gives_the_same_scores(speaker: Speaker) -> None:
    whole, _ = response_logprobs(speaker.model, PROMPT, [SHORT, LONG, OTHER])
    parts, _ = response_logprobs(speaker.model, PROMPT, [SHORT, LONG, OTHER], chunk=1)
    assert torch.allclose(whole, parts, atol=1e-5)


def test_a_prompt_of_one_token_is_scored(speaker: Speaker) -> None:
    logits = speaker.model(torch.tensor([[5, *SHORT]])).logits[0, :-1]
    want = logits.log_softmax(-1).gather(-1, torch.tensor(SHORT)[:, None]).sum()
    got, _ = response_logprobs(speaker.model, (5,), [SHORT])
    assert got.item() == pytest.approx(want.item(), abs=1e-5)


def _indifferent(speaker: Speaker) -> torch.nn.Module:
    """A model to which each of the 259 tokens is as likely as any other, everywhere."""
    model: torch.nn.Module = speaker.model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model.requires_grad_(requires_grad=True)


def test_three_and_seven_equally_likely_tokens_have_the_same_mean(speaker: Speaker) -> None:
    sums, counts = response_logprobs(_indifferent(speaker), PROMPT, [SHORT, LONG])
    assert (sums / counts).tolist() == pytest.approx([-math.log(259)] * 2, abs=1e-5)


@pytest.mark.parametrize("order", [(SHORT, LONG), (LONG, SHORT)])
def test_rrhf_sees_no_inversion_between_lengths(
    speaker: Speaker, order: tuple[tuple[int, ...], ...]
) -> None:
    """RRHF's released code divides by the padded length, so a longer response scores lower."""
    learner = Learner(
        _indifferent(speaker), Rrhf(weight=0.0), OptimizerConfig(kind="sgd"), total_updates=1
    )
    learned = learner.learn(Lesson(PROMPT, order, ((0,), (1,)), target=0))
    assert learned.rank_loss == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("tuning", [LORA, FullTuning()])
def test_the_logprob_recorded_in_sampling_is_the_scoring_passs(
    make_policy: Callable[..., WhiteBox], tuning: Tuning
) -> None:
    policy = make_policy(tuning)
    prompt = ask("Why is the sky blue?")
    policy.learn(lesson(prompt, "Because of Rayleigh.", "No."))
    (samples,) = policy.sample([SampleRequest(prompt, tuple(range(12)))])
    recorded = [s.logprob / len(s.tokens) for s in samples]
    assert policy.score(prompt, samples) == pytest.approx(recorded, abs=1e-4)
    assert {s.version for s in samples} == {1}


def test_an_empty_response_has_no_score(speaker: Speaker) -> None:
    with pytest.raises(ValueError, match="empty"):
        token_logprobs(speaker.model, PROMPT, [SHORT, ()])
