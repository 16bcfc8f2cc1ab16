"""The objectives: numbers worked by hand, a slow loop, and what must not change them."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from worker.objectives.dpo import Dpo
from worker.objectives.pro import Pro
from worker.objectives.reward import PairwiseLogistic
from worker.objectives.rrhf import Rrhf
from worker.objectives.sft import Sft
from worker.objectives.types import LossOutput, Objective, RankedValues

Row = tuple[list[float], list[int], int]
"""Log-probabilities, groups and target of one prompt."""


def batch(*rows: Row, padding: float = math.nan) -> RankedValues:
    """Rows as one padded batch; the padding is poison unless told otherwise."""
    width = max(len(p) for p, _, _ in rows)
    return RankedValues(
        torch.tensor([p + [padding] * (width - len(p)) for p, _, _ in rows], dtype=torch.float64),
        torch.tensor([g + [0] * (width - len(g)) for _, g, _ in rows]),
        torch.tensor([[k < len(p) for k in range(width)] for p, _, _ in rows]),
        torch.tensor([target for _, _, target in rows]),
        torch.tensor([[20 * (k < len(p)) for k in range(width)] for p, _, _ in rows]),
    )


def strict(*p: float) -> RankedValues:
    return batch((list(p), list(range(len(p))), 0))


def rank_of(objective: Objective, ranked: RankedValues) -> float:
    return objective(ranked).rank.item()


def slow_pro(p: list[float], groups: list[int]) -> float:
    total = 0.0
    for i, p_i in enumerate(p):
        worse = [math.exp(p_j) for j, p_j in enumerate(p) if groups[j] > groups[i]]
        if worse:
            total -= math.log(math.exp(p_i) / (math.exp(p_i) + sum(worse)))
    return total


def slow_rrhf(p: list[float], groups: list[int]) -> float:
    total = 0.0
    for i, p_i in enumerate(p):
        for j, p_j in enumerate(p):
            if groups[i] < groups[j] and p_j > p_i:
                total += p_j - p_i
    return total


@st.composite
def rows(draw: st.DrawFn) -> Row:
    p = draw(st.lists(st.floats(-8, 0), min_size=1, max_size=6))
    steps = draw(st.lists(st.integers(0, 1), min_size=len(p) - 1, max_size=len(p) - 1))
    groups = [sum(steps[:k]) for k in range(len(p))]
    return p, groups, draw(st.integers(0, len(p) - 1))


@pytest.mark.parametrize(
    ("p", "loss"),
    [
        ((0.0, -0.4, -1.2), 1.04990),
        ((-1.2, -0.4, 0.0), 2.79182),
        ((-1.0, -1.5), math.log(1 + math.exp(-0.5))),
        ((-0.7, -0.7, -0.7, -0.7), math.log(24)),
    ],
)
def test_pro_has_its_golden_values(p: tuple[float, ...], loss: float) -> None:
    assert rank_of(Pro(), strict(*p)) == pytest.approx(loss, abs=5e-6)


def test_pro_leaves_a_tied_response_out_of_the_others_denominator() -> None:
    tied = batch(([-0.5, -0.8, -1.2], [0, 0, 1], 0))
    by_hand = math.log(1 + math.exp(-0.7)) + math.log(1 + math.exp(-0.4))
    assert rank_of(Pro(), tied) == pytest.approx(by_hand, abs=1e-12)
    assert rank_of(Pro(), tied) == pytest.approx(0.91620, abs=5e-6)


@pytest.mark.parametrize(
    ("p", "loss"),
    [((0.0, -0.4, -1.2), 0.0), ((-1.2, -0.4, 0.0), 2.4), ((-0.8, -0.9, -0.5), 0.70)],
)
def test_rrhf_has_its_golden_values(p: tuple[float, ...], loss: float) -> None:
    assert rank_of(Rrhf(), strict(*p)) == pytest.approx(loss, abs=1e-12)


def test_rrhf_skips_tied_pairs() -> None:
    assert rank_of(Rrhf(), batch(([-0.9, -0.1, -0.5], [0, 0, 1], 0))) == pytest.approx(0.4)


def gradient(term: Callable[[LossOutput], Tensor], objective: Objective, *p: float) -> list[float]:
    logprobs = torch.tensor([p], dtype=torch.float64, requires_grad=True)
    output = objective(replace(strict(*p), values_BK=logprobs))
    term(output).backward()  # type: ignore[no-untyped-call]  # torch has no annotation there
    assert logprobs.grad is not None
    found: list[float] = logprobs.grad[0].tolist()
    return found


def test_pro_has_its_golden_gradient() -> None:
    found = gradient(lambda output: output.rank, Pro(), 0.0, -0.4, -1.2)
    assert found == pytest.approx([-0.49278, 0.02998, 0.46280], abs=5e-6)


def test_rrhf_pushes_each_inverted_pair_apart() -> None:
    found = gradient(lambda output: output.rank, Rrhf(), -1.2, -0.4, 0.0)
    assert found == [-2.0, 0.0, 2.0]


def test_the_sft_term_adds_lambda_times_the_target() -> None:
    rank = gradient(lambda output: output.rank, Pro(), 0.0, -0.4, -1.2)
    whole = gradient(lambda output: output.loss, Pro(weight=3.0), 0.0, -0.4, -1.2)
    assert whole == pytest.approx([rank[0] - 3.0, rank[1], rank[2]])


@pytest.mark.parametrize("objective", [Pro(), Rrhf()])
def test_padding_reaches_neither_the_loss_nor_the_gradient(objective: Objective) -> None:
    ragged = batch(([-0.1, -0.5, -0.9], [0, 1, 2], 0), ([-0.3, -0.2], [0, 1], 1))
    logprobs = ragged.values_BK.requires_grad_()
    output = objective(ragged)
    output.loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation there
    assert output.loss.isfinite()
    assert logprobs.grad is not None
    assert logprobs.grad.isfinite().all()
    assert logprobs.grad[1, 2] == 0


@pytest.mark.parametrize(("n", "weight"), [(2, 1.0), (3, 4.0), (4, 9.0)])
def test_lambda_is_the_square_of_the_responses_below_the_first(n: int, weight: float) -> None:
    assert Pro()(strict(*[-0.5] * n)).weight.tolist() == [weight]
    assert Rrhf()(strict(*[-0.5] * n)).weight.tolist() == [weight]


def test_lambda_counts_unmasked_responses_or_is_fixed() -> None:
    ragged = batch(([-0.1, -0.5, -0.9], [0, 1, 2], 0), ([-0.3, -0.2], [0, 1], 1))
    assert Pro()(ragged).weight.tolist() == [4.0, 1.0]
    assert Pro(weight=0.25)(ragged).weight.tolist() == [0.25, 0.25]
    assert Pro()(ragged).sft.item() == pytest.approx((0.1 + 0.2) / 2)


@given(st.lists(rows(), min_size=1, max_size=4), st.none() | st.floats(0, 10))
def test_objectives_equal_a_slow_loop_on_ragged_tied_batches(
    some: list[Row], weight: float | None
) -> None:
    pairs: list[tuple[Objective, Callable[[list[float], list[int]], float]]] = [
        (Pro(weight), slow_pro),
        (Rrhf(weight), slow_rrhf),
    ]
    for objective, slow in pairs:
        output = objective(batch(*some))
        ranks = [slow(p, groups) for p, groups, _ in some]
        sfts = [-p[target] for p, _, target in some]
        lambdas = [(len(p) - 1) ** 2 if weight is None else weight for p, _, _ in some]
        losses = [r + w * s for r, w, s in zip(ranks, lambdas, sfts, strict=True)]
        assert output.rank.item() == pytest.approx(sum(ranks) / len(some), abs=1e-6)
        assert output.sft.item() == pytest.approx(sum(sfts) / len(some), abs=1e-6)
        assert output.loss.item() == pytest.approx(sum(losses) / len(some), abs=1e-6)


@given(rows(), st.floats(-50, 50))
def test_adding_a_constant_to_all_changes_no_ranking_term(row: Row, shift: float) -> None:
    p, groups, target = row
    moved = batch(([x + shift for x in p], groups, target))
    for objective in (Pro(), Rrhf()):
        plain = rank_of(objective, batch(row))
        assert rank_of(objective, moved) == pytest.approx(plain, abs=1e-6)


@given(rows(), st.floats(0.01, 5))
def test_pro_falls_when_the_only_best_becomes_likelier(row: Row, rise: float) -> None:
    p, groups, target = [-1.0, *row[0]], [0, *(g + 1 for g in row[1])], row[2]
    raised = batch(([p[0] + rise, *p[1:]], groups, target))
    assert rank_of(Pro(), raised) < rank_of(Pro(), batch((p, groups, target)))


@given(rows())
def test_rrhf_is_zero_exactly_when_the_order_is_respected(row: Row) -> None:
    p, groups, _ = row
    kept = all(p[i] >= p[j] for i in range(len(p)) for j in range(len(p)) if groups[i] < groups[j])
    assert (rank_of(Rrhf(), batch(row)) == 0) is kept


def test_pro_is_finite_for_very_unlikely_responses() -> None:
    assert rank_of(Pro(), strict(-2000.0, -1.0)) == pytest.approx(1999.0)


def scored(p: list[float], r: list[float]) -> RankedValues:
    return replace(strict(*p), scores_BK=torch.tensor([r]))


def test_pro_with_scores_has_its_golden_value_and_gradient() -> None:
    ranked = scored([-1.0, -1.1, -1.5], [2.0, 1.8, 0.2])
    assert rank_of(Pro(temperature=True), ranked) == pytest.approx(2.25792, abs=5e-6)
    p = ranked.values_BK.requires_grad_()
    Pro(temperature=True)(ranked).rank.backward()  # type: ignore[no-untyped-call]  # as above
    assert p.grad is not None
    assert p.grad[0].tolist() == pytest.approx([-1.51253, -0.39732, 0.66927], abs=5e-6)


def test_pro_reads_scores_only_where_it_is_told_to_and_there_are_some() -> None:
    ranked = scored([-1.0, -1.1, -1.5], [2.0, 1.8, 0.2])
    plain = rank_of(Pro(), strict(-1.0, -1.1, -1.5))
    assert rank_of(Pro(), ranked) == plain
    assert rank_of(Pro(temperature=True), strict(-1.0, -1.1, -1.5)) == plain


@given(rows(), st.lists(st.floats(0.01, 3), min_size=6, max_size=6))
def test_pro_with_scores_equals_a_slow_loop(row: Row, gaps: list[float]) -> None:
    p, groups, _ = row
    r = [10 - sum(gaps[: group + 1]) for group in groups]
    slow = 0.0
    for k, p_k in enumerate(p):
        worse = [i for i in range(len(p)) if groups[i] > groups[k]]
        if worse:
            own = math.exp(p_k * max(r[k] - r[i] for i in worse))
            rivals = sum(math.exp(p[i] * (r[k] - r[i])) for i in worse)
            slow -= math.log(own / (own + rivals))
    ranked = replace(batch(row), scores_BK=torch.tensor([r], dtype=torch.float64))
    assert rank_of(Pro(temperature=True), ranked) == pytest.approx(slow, abs=1e-6)


def test_a_sum_over_tokens_weighs_as_in_the_papers_of_pro_and_rrhf() -> None:
    """20 tokens at a mean of -0.5: 10 nats. PRO: 0.05 (3-1)^2 = 0.2 of them. RRHF: all of them."""
    ranked = strict(-0.5, -0.5, -0.5)
    for objective, weight in ((Pro(reduction="sum"), 0.2), (Rrhf(reduction="sum"), 1.0)):
        output = objective(ranked)
        assert output.weight.tolist() == pytest.approx([weight])
        assert output.sft.item() == pytest.approx(10.0)
        assert output.loss.item() == pytest.approx(output.rank.item() + weight * 10.0)


def test_dpo_of_a_pair_is_the_logistic_loss_of_the_margin() -> None:
    """Sums over 20 tokens: the better rose by 2 nats, the worse fell by 1: margin 0.1 x 3 = 0.3."""
    ranked = replace(strict(-0.5, -0.8), reference_BK=torch.tensor([[-0.6, -0.75]]))
    assert rank_of(Dpo(), ranked) == pytest.approx(math.log(1 + math.exp(-0.3)), abs=1e-6)


def test_dpo_at_the_reference_knows_nothing_of_the_order() -> None:
    for p in ([-0.5, -0.8], [-0.1, -3.0, -2.0, -2.5]):
        ranked = replace(strict(*p), reference_BK=strict(*p).values_BK)
        assert rank_of(Dpo(), ranked) == pytest.approx(math.log(math.factorial(len(p))))


@given(rows(), st.lists(st.floats(-8, 0), min_size=6, max_size=6), st.floats(0.01, 1))
def test_dpo_equals_a_slow_loop(row: Row, before: list[float], beta: float) -> None:
    p, groups, _ = row
    rewards = [beta * 20 * (new - old) for new, old in zip(p, before, strict=False)]
    reference = torch.tensor([before[: len(p)]], dtype=torch.float64)
    ranked = replace(batch(row), reference_BK=reference)
    assert rank_of(Dpo(beta), ranked) == pytest.approx(slow_pro(rewards, groups), abs=1e-6)


def test_sft_imitates_the_target_alone() -> None:
    output = Sft()(batch(([-0.1, -0.7], [0, 1], 0), ([-0.3], [0], 0)))
    assert output.loss.item() == pytest.approx(0.2)
    assert gradient(lambda output: output.loss, Sft(), -0.1, -0.7) == [-1.0, 0.0]


def test_a_reward_model_loses_by_the_margin_of_every_ordered_pair() -> None:
    """Rewards 2, 1, 1 with the last two tied: two pairs, each log(1 + e^-1) = 0.31326."""
    tied = batch(([2.0, 1.0, 1.0], [0, 1, 1], 0))
    assert rank_of(PairwiseLogistic(), tied) == pytest.approx(0.31326, abs=5e-6)
    assert rank_of(PairwiseLogistic(), strict(0.4, 0.4)) == pytest.approx(math.log(2))


def test_only_differences_of_rewards_count() -> None:
    assert gradient(lambda output: output.loss, PairwiseLogistic(), 3.0, 3.0) == [-0.5, 0.5]
    assert rank_of(PairwiseLogistic(), batch(([1.0, 2.0], [0, 0], 0))) == 0.0


@pytest.mark.parametrize("objective", [Pro(temperature=True), Dpo(), PairwiseLogistic(), Sft()])
def test_poison_under_the_mask_reaches_no_objective(objective: Objective) -> None:
    ragged = batch(([-0.1, -0.5, -0.9], [0, 1, 2], 0), ([-0.3, -0.2], [0, 1], 1))
    poison = torch.where(ragged.mask_BK, -0.4, math.nan)
    values = ragged.values_BK.requires_grad_()
    scores = torch.where(ragged.mask_BK, torch.tensor([3.0, 2.0, 1.0]), math.nan)
    objective(replace(ragged, scores_BK=scores, reference_BK=poison)).loss.backward()  # type: ignore[no-untyped-call]  # as above
    assert values.grad is not None
    assert values.grad.isfinite().all()
