"""What the kernels make of logits (R, V), float32: drawn tokens, probabilities."""

import torch
from torch import Tensor

from worker.whitebox.native.library import needed


def draw(
    logits_RV: Tensor, uniform_R: Tensor, temperature: float, top_p: float
) -> tuple[Tensor, Tensor]:
    """One token id a row, and its raw temperature-1 log-probability in nats.

    Raises:
        MemoryError: there is no room for the weights of a vocabulary.
    """
    rows, vocabulary = logits_RV.shape
    logits_RV = logits_RV.contiguous()
    token_R = torch.empty(rows, dtype=torch.long)
    logprob_R = torch.empty(rows)
    each = (token_R.data_ptr(), logprob_R.data_ptr(), torch.get_num_threads())
    given = (logits_RV.data_ptr(), uniform_R.contiguous().data_ptr(), temperature, top_p)
    if not needed().draw(rows, vocabulary, *given, *each):
        raise MemoryError("no memory to draw tokens in")
    return token_R, logprob_R


def soften(logits_RV: Tensor, target_R: Tensor) -> Tensor:
    """Turn logits into probabilities in place; returns the log-probability of each target."""
    logprob_R = torch.empty(len(logits_RV))
    each = (logits_RV, target_R.contiguous(), logprob_R)
    places = (one.data_ptr() for one in each)
    needed().soften(*logits_RV.shape, *places, torch.get_num_threads())
    return logprob_R
