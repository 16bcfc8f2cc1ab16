"""Log-probabilities of chosen tokens from hidden states, without ever holding all their logits.

The head runs over a bounded number of tokens at a time. Where it is frozen, the slope of each
log-probability by its hidden state is computed in the forward pass, so that the backward pass needs
neither logits nor a second product with the vocabulary.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from worker.whitebox.frozen import FrozenLayer, frozen
from worker.whitebox.native.drawing import soften
from worker.whitebox.native.library import usable_for

MOST_LOGITS = 1 << 22
"""Logits held at once: 16 MiB in float32, within a cache and what `worker.heap` keeps."""


def chosen_logprobs(hidden_ND: Tensor, head: Any, target_N: Tensor) -> Tensor:
    """Log-probability in nats, float32 (N,), of each target under the head's softmax.

    `head` is the output layer: `weight` (V, D) and an optional `bias` (V,).
    """
    if hidden_ND.requires_grad and not head.weight.requires_grad:
        found: Tensor = _Frozen.apply(  # type: ignore[no-untyped-call]  # torch leaves it untyped
            hidden_ND, frozen(head), target_N
        )
        return found
    parts = list(_parts(target_N, head.weight))
    remember = len(parts) == 1 or not torch.is_grad_enabled()
    return torch.cat(
        [
            _of_part(hidden_ND[part], head, target_N[part])
            if remember
            else checkpoint(_of_part, hidden_ND[part], head, target_N[part], use_reentrant=False)
            for part in parts
        ]
    )


def _parts(target_N: Tensor, weight_VD: Tensor) -> Iterator[slice]:
    size = max(1, MOST_LOGITS // len(weight_VD))
    return (slice(start, start + size) for start in range(0, len(target_N), size))


def _logits(hidden_ND: Tensor, head: Any) -> Tensor:
    if head.weight.requires_grad:
        return torch.nn.functional.linear(hidden_ND, head.weight, head.bias).float()
    return frozen(head).forward(hidden_ND).float()


def _of_part(hidden_ND: Tensor, head: Any, target_N: Tensor) -> Tensor:
    logits_NV = _logits(hidden_ND, head)
    return logits_NV.gather(-1, target_N[:, None]).squeeze(-1) - logits_NV.logsumexp(-1)


class _Frozen(torch.autograd.Function):
    """d logp / d h = W[target] - softmax(W h) W."""

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, head: FrozenLayer, target_N: Tensor) -> Tensor:
        logprob_N = torch.empty(len(target_N), device=hidden_ND.device)
        slope_ND = torch.empty_like(hidden_ND)
        weight_VD = head.weights[0]
        for part in _parts(target_N, weight_VD):
            logits_NV = head.forward(hidden_ND[part]).float()
            logprob_N[part] = _softened(logits_NV, target_N[part])
            probs_NV = logits_NV.to(weight_VD.dtype)
            slope_ND[part] = weight_VD[target_N[part]].sub_(head.back(probs_NV))
        ctx.save_for_backward(slope_ND)
        return logprob_N

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        (slope_ND,) = ctx.saved_tensors
        return slope_ND * slopes[0][:, None].to(slope_ND.dtype), None, None


def _softened(logits_NV: Tensor, target_N: Tensor) -> Tensor:
    """Turn logits into probabilities; returns each target's log-probability.

    In place, for a part's logits are larger than any cache.
    """
    if usable_for(logits_NV) and logits_NV.is_contiguous():
        return soften(logits_NV, target_N)
    every_NV = torch.log_softmax(logits_NV, -1, out=logits_NV)
    logprob_N = every_NV.gather(-1, target_N[:, None]).squeeze(-1)
    every_NV.exp_()
    return logprob_N
