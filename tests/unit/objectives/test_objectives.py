"""PRO and RRHF: numbers worked by hand, a slow loop, and what must not change them."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from worker.objectives.pro import Pro
from worker.objectives.rrhf import Rrhf
from worker.objectives.types import LossOutput, Objective, RankedLogprobs

Row = tuple[list[float], list[int], int]
"""Log-probabilities, groups and target of one prompt."""


def batch(*rows: Row, padding: float = math.nan) -> RankedLogprobs:
    """Rows as one padded batch; the padding is poison unless told otherwise."""
    width = max(len(p) for p, _, _ in rows)
    return RankedLogprobs(
        torch.tensor([p + [padding] * (width - len(p)) for p, _, _ in rows], dtype=torch.float64),
        torch.tensor([g + [0] * (width - len(g)) for _, g, _ in rows]),
        torch.tensor([[k < len(p) for k in range(width)] for p, _, _ in rows]),
        torch.tensor([target for _, _, target in rows]),
    )


def strict(*p: float) -> RankedLogprobs:
    return batch((list(p), list(range(len(p))), 0))


def rank_of(objective: Objective, ranked: RankedLogprobs) -> float:
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
    plain = strict(*p)
    output = objective(RankedLogprobs(logprobs, plain.group_BK, plain.mask_BK, plain.target_B))
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
    logprobs = ragged.logprobs_BK.requires_grad_()
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
