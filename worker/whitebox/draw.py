"""Draws one token per row from logits by inverse CDF, so that a row needs one uniform a token.

A row's draw depends on its own logits and its own uniform: which rows share its batch, or in what
order they stand, changes nothing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

HEAD = 1024
"""Likeliest tokens tried first for the nucleus; sorting a whole vocabulary costs eight times."""


def uniforms(seeds: Sequence[int], count: int) -> Tensor:
    """Numbers in [0, 1), float64 of shape (rows, count); each row's from its own seed alone."""
    rows = [torch.rand(count, dtype=torch.float64, generator=_generator(seed)) for seed in seeds]
    return torch.stack(rows)


def draw(logits_RV: Tensor, uniform_R: Tensor, temperature: float, top_p: float) -> Tensor:
    """One token id per row, shape (R,), from the tempered distribution cut to its nucleus.

    The nucleus is the smallest set of likeliest tokens whose mass reaches `top_p`.
    """
    tempered_RV = logits_RV if temperature == 1 else logits_RV / temperature
    probs_RV = torch.softmax(tempered_RV, dim=-1)
    if top_p >= 1:
        return _inverse_cdf(probs_RV, uniform_R)
    head = probs_RV.topk(min(HEAD, probs_RV.shape[-1]))
    token_R = _from_nucleus(head.values, head.indices, uniform_R, top_p)
    uncovered_R = head.values.sum(-1) < top_p
    if uncovered_R.any():
        full = probs_RV[uncovered_R].sort(descending=True, stable=True)
        token_R[uncovered_R] = _from_nucleus(
            full.values, full.indices, uniform_R[uncovered_R], top_p
        )
    return token_R


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _from_nucleus(sorted_RN: Tensor, ids_RN: Tensor, uniform_R: Tensor, top_p: float) -> Tensor:
    before_RN = sorted_RN.cumsum(-1) - sorted_RN
    kept_RN = sorted_RN.masked_fill(before_RN >= top_p, 0.0)
    place_R = _inverse_cdf(kept_RN, uniform_R)
    return ids_RN.gather(-1, place_R[:, None]).squeeze(-1)


def _inverse_cdf(weights_RN: Tensor, uniform_R: Tensor) -> Tensor:
    """The first position whose cumulative weight exceeds the uniform's share of the total."""
    cdf_RN = weights_RN.cumsum(-1, dtype=torch.float64)
    target_R1 = uniform_R[:, None] * cdf_RN[:, -1:]
    place_R = torch.searchsorted(cdf_RN, target_R1, right=True).squeeze(-1)
    return place_R.clamp(max=weights_RN.shape[-1] - 1)
