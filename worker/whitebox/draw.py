"""Draws one token per row from logits by inverse CDF, so that a row needs one uniform a token.

A row's draw depends on its own logits and its own uniform: which rows share its batch, or in what
order they stand, changes nothing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from worker.whitebox.native import drawing
from worker.whitebox.native.library import usable_for

BLOCK = 128
"""Places whose weights are summed at once."""
HEAD = 1024
"""Likeliest tokens tried first for the nucleus; sorting a whole vocabulary costs eight times."""


def uniforms(seeds: Sequence[int], count: int) -> Tensor:
    """Numbers in [0, 1), float64 of shape (rows, count); each row's from its own seed alone."""
    rows = [torch.rand(count, dtype=torch.float64, generator=_generator(seed)) for seed in seeds]
    return torch.stack(rows)


def draw_and_tell(
    logits_RV: Tensor, uniform_R: Tensor, temperature: float, top_p: float
) -> tuple[Tensor, Tensor]:
    """What `draw` gives, and the raw temperature-1 log-probability of each token, in nats."""
    if usable_for(logits_RV):
        return drawing.draw(logits_RV, uniform_R, temperature, top_p)
    token_R = draw(logits_RV, uniform_R, temperature, top_p)
    chosen_R = logits_RV.gather(-1, token_R[:, None]).squeeze(-1)
    return token_R, chosen_R - logits_RV.logsumexp(-1)


def draw(logits_RV: Tensor, uniform_R: Tensor, temperature: float, top_p: float) -> Tensor:
    """One token id per row, shape (R,), from the tempered distribution cut to its nucleus.

    The nucleus is the smallest set of likeliest tokens whose mass reaches `top_p`.
    """
    tempered_RV = logits_RV if temperature == 1 else logits_RV / temperature
    probs_RV = torch.softmax(tempered_RV, dim=-1)
    kept_RV = probs_RV if top_p >= 1 else _nucleus(probs_RV, top_p)
    return _inverse_cdf(kept_RV, uniform_R)


def _nucleus(probs_RV: Tensor, top_p: float) -> Tensor:
    """The probabilities with zeros for what is outside."""
    kept_RV = torch.zeros_like(probs_RV)
    head = probs_RV.topk(min(HEAD, probs_RV.shape[-1]))
    kept_RV.scatter_(-1, head.indices, _cut(head.values, top_p))
    uncovered_R = head.values.sum(-1) < top_p
    if uncovered_R.any():
        whole = probs_RV[uncovered_R].sort(descending=True, stable=True)
        cut_UV = torch.empty_like(whole.values)
        kept_RV[uncovered_R] = cut_UV.scatter_(-1, whole.indices, _cut(whole.values, top_p))
    return kept_RV


def _cut(sorted_RN: Tensor, top_p: float) -> Tensor:
    before_RN = sorted_RN.cumsum(-1) - sorted_RN
    return sorted_RN.masked_fill(before_RN >= top_p, 0.0)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _inverse_cdf(weights_RN: Tensor, uniform_R: Tensor) -> Tensor:
    """The first position whose cumulative weight exceeds the uniform's share of the total.

    First the block, then the place in it: a running sum over a vocabulary costs ten times as much.
    """
    blocks_RBW = _in_blocks(weights_RN)
    sums_RB = blocks_RBW.sum(-1).double()
    target_R1 = uniform_R[:, None] * sums_RB.sum(-1, keepdim=True)
    block_R1, left_R1 = _passed(sums_RB, target_R1)
    inside_RW = blocks_RBW.gather(1, block_R1[..., None].expand(-1, 1, BLOCK)).squeeze(1)
    place_R1, _ = _passed(inside_RW.double(), left_R1)
    return (block_R1 * BLOCK + place_R1).squeeze(-1)


def _in_blocks(weights_RN: Tensor) -> Tensor:
    """(R, N / BLOCK, BLOCK), filled up with zeros."""
    short = -weights_RN.shape[-1] % BLOCK
    if short:
        weights_RN = torch.nn.functional.pad(weights_RN, (0, short))
    return weights_RN.view(len(weights_RN), -1, BLOCK)


def _passed(weights_RN: Tensor, target_R1: Tensor) -> tuple[Tensor, Tensor]:
    """The first place whose cumulative weight exceeds the target, and what is left of it there.

    Rounding may leave the target beyond them all: then the last place that has any weight.
    """
    cdf_RN = weights_RN.cumsum(-1)
    last_R1 = (weights_RN > 0).cumsum(-1).argmax(-1, keepdim=True)
    place_R1 = torch.searchsorted(cdf_RN, target_R1, right=True).minimum(last_R1)
    before_R1 = cdf_RN.gather(-1, place_R1) - weights_RN.gather(-1, place_R1)
    return place_R1, target_R1 - before_R1
