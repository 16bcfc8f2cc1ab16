"""Token log-probabilities of responses to one prompt, differentiable.

The prompt runs once and its keys and values serve all responses, so a training step pays for it
once instead of once a candidate; values and gradients are those of separate full sequences.
Padding stands on the right, where no real token sees it, and the mask is kept apart from the
tokens: neither padding nor another response changes a score (RRHF's released code divides by the
padded length).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from worker.whitebox.precision import Precision, arithmetic


def response_logprobs(
    model: Any,
    prompt: Sequence[int],
    responses: Sequence[Sequence[int]],
    *,
    chunk: int | None = None,
    precision: Precision = "float32",
) -> tuple[Tensor, Tensor]:
    """Summed log-probability and token count of each of K responses, both (K,), in nats.

    At most `chunk` responses run at a time.

    Raises:
        ValueError: the prompt or a response is empty.
    """
    size = chunk or len(responses)
    parts = [
        token_logprobs(model, prompt, responses[i : i + size], precision=precision)
        for i in range(0, len(responses), size)
    ]
    sums = [(logprobs_KT * mask_KT).sum(-1) for logprobs_KT, mask_KT in parts]
    return torch.cat(sums), torch.cat([mask_KT.sum(-1) for _, mask_KT in parts])


def token_logprobs(
    model: Any,
    prompt: Sequence[int],
    responses: Sequence[Sequence[int]],
    *,
    precision: Precision = "float32",
) -> tuple[Tensor, Tensor]:
    """Log-probability of every response token and the mask of real ones, both (K, T)."""
    if not prompt or not all(responses):
        raise ValueError("an empty prompt or response has no log-probability")
    device = next(model.parameters()).device
    tokens_KT, mask_KT = _right_padded(responses, device)
    with arithmetic(device, precision):
        logits_KTV = _response_logits(model, torch.tensor(list(prompt), device=device), tokens_KT)
    logits_KTV = logits_KTV.float()
    chosen_KT = logits_KTV.gather(-1, tokens_KT[..., None]).squeeze(-1)
    return chosen_KT - logits_KTV.logsumexp(-1), mask_KT


def _response_logits(model: Any, prompt_P: Tensor, tokens_KT: Tensor) -> Tensor:
    """Logits that predict each response token, (K, T, V): after the prompt's last and on."""
    cache = DynamicCache(config=model.config)
    if len(prompt_P) > 1:
        model(prompt_P[None, :-1], past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(len(tokens_KT))
    last_K1 = prompt_P[-1].expand(len(tokens_KT), 1)
    inputs_KT = torch.cat([last_K1, tokens_KT[:, :-1]], dim=1)
    logits_KTV: Tensor = model(inputs_KT, past_key_values=cache, use_cache=True).logits
    return logits_KTV


def _right_padded(
    responses: Sequence[Sequence[int]], device: torch.device
) -> tuple[Tensor, Tensor]:
    width = max(map(len, responses))
    tokens = [list(r) + [0] * (width - len(r)) for r in responses]
    mask = [[1] * len(r) + [0] * (width - len(r)) for r in responses]
    return torch.tensor(tokens, device=device), torch.tensor(mask, device=device)
