import math
from collections.abc import Callable

import pytest
import torch

from tests.whitebox.conftest import GENERATION, LORA, ask, lesson, taught
from worker.cycle.types import TrainingRanking
from worker.whitebox.errors import NonFiniteLoss
from worker.whitebox.opening import Learning
from worker.whitebox.policy import WhiteBox
from worker.whitebox.sample import Generation
from worker.whitebox.schedule import OptimizerConfig, learning_rate
from worker.whitebox.tuning import FullTuning, Tuning

SMALL = Learning(batch_tokens=90)
RANKING = lesson(ask("Name a colour."), "Green is one.", "No", "I would rather not say that.")


@pytest.mark.parametrize("tuning", [LORA, FullTuning()])
@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_learning_makes_the_top_response_likelier(
    make_policy: Callable[..., WhiteBox], tuning: Tuning, kind: str
) -> None:
    lr = {"adamw": 1e-3, "sgd": 1e-2}[kind]
    policy = make_policy(tuning, OptimizerConfig(kind=kind, lr=lr))  # type: ignore[arg-type]  # a parameter
    first, *_, last = [taught(policy, RANKING) for _ in range(5)]
    assert last.scores[0] > first.scores[0] + 1e-3
    assert last.loss < first.loss
    assert (first.version, last.version, policy.version) == (1, 5, 5)


def test_what_is_reported_is_the_loss_of_the_reported_scores(
    make_policy: Callable[..., WhiteBox],
) -> None:
    """PRO on p: sum over k of ln sum_(i>=k) e^p_i - p_k, plus (3 - 1)^2 times -p_1."""
    learned = taught(make_policy(), RANKING)
    p = learned.scores
    rank = sum(math.log(sum(math.exp(x) for x in p[k:])) - p[k] for k in range(2))
    assert learned.rank_loss == pytest.approx(rank, abs=1e-5)
    assert learned.sft_loss == pytest.approx(-p[0], abs=1e-5)
    assert learned.sft_weight == 4
    assert learned.loss == pytest.approx(rank - 4 * p[0], abs=1e-4)


@pytest.mark.parametrize("tuning", [LORA, FullTuning()])
def test_learning_in_chunks_takes_the_same_step(
    make_policy: Callable[..., WhiteBox], tuning: Tuning
) -> None:
    sgd = OptimizerConfig(kind="sgd", lr=1e-1)
    whole, parts = make_policy(tuning, sgd), make_policy(tuning, sgd, learning=SMALL)
    ours, theirs = taught(whole, RANKING), taught(parts, RANKING)
    assert ours.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-5)
    for name, weight in whole.learner.parameters.items():
        assert torch.allclose(weight, parts.learner.parameters[name], atol=1e-6)


def test_bfloat16_learns_nearly_the_same_as_float32(make_policy: Callable[..., WhiteBox]) -> None:
    half = make_policy(generation=Generation(24, max_length=200, precision="bfloat16"))
    assert taught(half, RANKING).loss == pytest.approx(
        taught(make_policy(), RANKING).loss, rel=0.02
    )
    assert {p.dtype for p in half.learner.parameters.values()} == {torch.float32}


def test_a_loss_that_is_no_number_changes_nothing(make_policy: Callable[..., WhiteBox]) -> None:
    policy = make_policy(FullTuning())
    weights = policy.learner.parameters
    with torch.no_grad():
        weights["model.norm.weight"].fill_(float("nan"))
    before = {name: weight.clone() for name, weight in weights.items()}
    with pytest.raises(NonFiniteLoss):
        taught(policy, RANKING)
    assert policy.version == 0
    assert all(torch.equal(before[n], w) for n, w in weights.items() if "norm" not in n)


def test_the_same_seed_draws_the_same_adapters(make_policy: Callable[..., WhiteBox]) -> None:
    state = torch.get_rng_state()
    one, two = make_policy(), make_policy()
    assert torch.equal(state, torch.get_rng_state())
    for name, weight in one.learner.parameters.items():
        assert torch.equal(weight, two.learner.parameters[name])


def test_a_teacher_response_longer_than_the_limit_is_cut(
    make_policy: Callable[..., WhiteBox],
) -> None:
    ranking = lesson(ask("Hi"), "word " * 200, "No")
    assert math.isfinite(taught(make_policy(), ranking).loss)


def test_tied_responses_and_sampled_tokens_are_learned_as_they_are(
    make_policy: Callable[..., WhiteBox],
) -> None:
    tokens = ((40, 41, 256), None, (50, 256))
    ranking = TrainingRanking(ask("Hi"), ("ij", "b", "s"), tokens, ((0, 1), (2,)), target=1)
    policy = make_policy()
    learned = taught(policy, ranking)
    p = learned.scores
    rank = sum(math.log(math.exp(p[k]) + math.exp(p[2])) - p[k] for k in (0, 1))
    assert learned.rank_loss == pytest.approx(rank, abs=1e-5)
    assert learned.sft_loss == pytest.approx(-p[1], abs=1e-5)


def _rates(config: OptimizerConfig, total: int) -> list[float]:
    return [learning_rate(config, update, total) for update in range(total)]


def test_schedules_by_hand() -> None:
    assert _rates(OptimizerConfig(lr=1.0, warmup_updates=2), 4) == [0.5, 1, 1, 1]
    linear = OptimizerConfig(lr=1.0, schedule="linear", warmup_updates=2)
    assert _rates(linear, 6) == [0.5, 1, 1, 0.75, 0.5, 0.25]
    cosine = OptimizerConfig(lr=1.0, schedule="cosine")
    assert _rates(cosine, 4) == pytest.approx([1, 0.853553, 0.5, 0.146447], abs=1e-6)
    assert learning_rate(cosine, 9, 4) == 0
    assert GENERATION.prompt_limit == 176
