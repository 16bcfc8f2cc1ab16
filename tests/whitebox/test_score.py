import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.whitebox.conftest import LORA, ask, lesson, sampled, taught
from worker.cycle.ports import Answers, SampleRequest
from worker.objectives.rrhf import Rrhf
from worker.whitebox.learn import Learner, Lesson
from worker.whitebox.policy import Speaker, WhiteBox
from worker.whitebox.schedule import OptimizerConfig
from worker.whitebox.score import Scorer
from worker.whitebox.strips import SharedPrompt, Texts
from worker.whitebox.tuning import FullTuning, Tuning

PROMPT = (5, 80, 13, 44, 97, 200)
SHORT, LONG, OTHER = (7, 9, 11), (3, 1, 4, 1, 5, 9, 2), (250, 8)


def _by_hand(model: Any, response: tuple[int, ...]) -> Any:
    """Summed log-probability from one plain forward of prompt and response."""
    logits = model(torch.tensor([PROMPT + response])).logits[0, len(PROMPT) - 1 : -1]
    return logits.log_softmax(-1).gather(-1, torch.tensor(response)[:, None]).sum()


@pytest.fixture(params=["on", "off"])
def shared(request: pytest.FixtureRequest) -> Any:
    """Both ways of laying responses behind their prompt."""
    return request.param


def _means(model: Any, shared: SharedPrompt, *responses: tuple[int, ...]) -> torch.Tensor:
    return Scorer(model, shared_prompt=shared).means([Texts(PROMPT, responses)])[0]


def test_a_score_is_that_of_a_plain_forward_whatever_stands_beside_it(
    speaker: Speaker, shared: SharedPrompt
) -> None:
    model = speaker.model
    together = _means(model, shared, SHORT, LONG, OTHER)
    for got, response in zip(together, (SHORT, LONG, OTHER), strict=True):
        plain = _by_hand(model, response).item() / len(response)
        assert got.item() == pytest.approx(plain, abs=1e-5)
        assert got.item() == pytest.approx(_means(model, shared, response).item(), abs=1e-5)


def test_the_order_of_responses_changes_no_bit(speaker: Speaker, shared: SharedPrompt) -> None:
    one = _means(speaker.model, shared, SHORT, LONG, OTHER)
    other = _means(speaker.model, shared, OTHER, SHORT, LONG)
    assert torch.equal(one, other[[1, 2, 0]])


@pytest.mark.parametrize("tuning", [LORA, FullTuning()])
def test_the_gradient_is_that_of_separate_sequences(
    make_policy: Callable[..., WhiteBox], tuning: Tuning, shared: SharedPrompt
) -> None:
    learner = make_policy(tuning).learner
    weights, model = list(learner.parameters.values()), learner.scorer.model
    with torch.no_grad():
        for weight in weights:  # an adapter that changes nothing yet gets half its gradients as 0
            noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
            weight.add_(noise, alpha=0.01)
    ours = torch.autograd.grad(_means(model, shared, SHORT, LONG).sum(), weights)
    apart = _by_hand(model, SHORT) / 3 + _by_hand(model, LONG) / 7
    for one, other in zip(ours, torch.autograd.grad(apart, weights), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("tuning", [LORA, FullTuning()])
def test_the_gradient_of_a_large_tree_is_the_same_in_every_bit(
    make_policy: Callable[..., WhiteBox], tuning: Tuning
) -> None:
    """Large enough for threads to share the work: 12 x 60 places of 64 numbers."""
    learner = make_policy(tuning).learner
    weights, threads = list(learner.parameters.values()), torch.get_num_threads()
    responses = tuple(tuple((7 * k + 3 * i) % 250 for i in range(60)) for k in range(12))
    torch.set_num_threads(4)
    try:
        found = [
            torch.autograd.grad(_means(learner.scorer.model, "on", *responses).sum(), weights)
            for _ in range(12)
        ]
    finally:
        torch.set_num_threads(threads)
    for again in found[1:]:
        assert all(map(torch.equal, found[0], again))


def test_several_prompts_share_a_pass(speaker: Speaker, shared: SharedPrompt) -> None:
    scorer = Scorer(speaker.model, shared_prompt=shared)
    texts = [Texts(PROMPT, (SHORT, LONG)), Texts(PROMPT[:2], (OTHER,))]
    both = scorer.means(texts)
    for one, text in zip(both, texts, strict=True):
        assert torch.allclose(one, scorer.means([text])[0], atol=1e-5)


def test_a_small_budget_gives_the_same_scores(speaker: Speaker, shared: SharedPrompt) -> None:
    texts = [Texts(PROMPT, (SHORT, LONG, OTHER)), Texts(PROMPT[:2], (OTHER,))]
    whole = Scorer(speaker.model, shared_prompt=shared).values(texts)
    parts = Scorer(speaker.model, shared_prompt=shared, batch_tokens=14)
    assert len(parts.parts(texts[0])) == 3
    for one, other in zip(whole, parts.values(texts), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_a_prompt_of_one_token_is_scored(speaker: Speaker, shared: SharedPrompt) -> None:
    logits = speaker.model(torch.tensor([[5, *SHORT]])).logits[0, :-1]
    want = logits.log_softmax(-1).gather(-1, torch.tensor(SHORT)[:, None]).mean()
    [got] = Scorer(speaker.model, shared_prompt=shared).means([Texts((5,), (SHORT,))])
    assert got.item() == pytest.approx(want.item(), abs=1e-5)


def _indifferent(speaker: Speaker) -> torch.nn.Module:
    """A model to which each of the 259 tokens is as likely as any other, everywhere."""
    model: torch.nn.Module = speaker.model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model.requires_grad_(requires_grad=True)


def test_three_and_seven_equally_likely_tokens_have_the_same_mean(speaker: Speaker) -> None:
    means = _means(_indifferent(speaker), "auto", SHORT, LONG)
    assert means.tolist() == pytest.approx([-math.log(259)] * 2, abs=1e-5)


@pytest.mark.parametrize("order", [(SHORT, LONG), (LONG, SHORT)])
def test_rrhf_sees_no_inversion_between_lengths(
    speaker: Speaker, order: tuple[tuple[int, ...], ...]
) -> None:
    """RRHF's released code divides by the padded length, so a longer response scores lower."""
    scorer = Scorer(_indifferent(speaker))
    learner = Learner(scorer, Rrhf(weight=0.0), OptimizerConfig(kind="sgd"), total_updates=1)
    [learned] = learner.learn([Lesson(Texts(PROMPT, order), ((0,), (1,)), target=0)])
    assert learned.rank_loss == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("tuning", [LORA, FullTuning()])
def test_the_logprob_recorded_in_sampling_is_the_scoring_passs(
    make_policy: Callable[..., WhiteBox], tuning: Tuning
) -> None:
    policy = make_policy(tuning)
    prompt = ask("Why is the sky blue?")
    taught(policy, lesson(prompt, "Because of Rayleigh.", "No."))
    (samples,) = sampled(policy, SampleRequest(prompt, tuple(range(12))))
    recorded = [s.logprob / len(s.tokens) for s in samples]
    assert policy.score([Answers(prompt, tuple(samples))])[0] == pytest.approx(recorded, abs=1e-4)
    assert {s.version for s in samples} == {1}


def test_an_empty_response_has_no_score(speaker: Speaker) -> None:
    with pytest.raises(ValueError, match="empty"):
        _means(speaker.model, "auto", SHORT, ())
