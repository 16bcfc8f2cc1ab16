"""`transformers` ends every row at its keyed length, whatever shares its batch."""

from typing import Any

import pytest
import torch

from benchmarks.forcing import KeyedLengths, force_lengths
from benchmarks.models import build
from benchmarks.prompts import synthetic, token_ids
from benchmarks.workload import Workload

WORKLOAD = Workload(model="tiny", prompts=3, prompt_tokens=40, response_tokens=8)


@pytest.fixture(scope="module")
def made() -> tuple[Any, Any, list[tuple[int, ...]]]:
    model, tokenizer = build("tiny")
    prompts = synthetic(tokenizer, 3, 40)
    return model, tokenizer, [token_ids(tokenizer, prompt.messages) for prompt in prompts]


def lengths(made: tuple[Any, Any, list[tuple[int, ...]]], order: list[int]) -> list[int]:
    model, tokenizer, prompts = made
    # a shorter prompt stands beside the long ones, padded on the left
    rows = torch.tensor([[tokenizer.pad_token_id, *prompts[i]] for i in order])
    mask = torch.tensor([[0] + [1] * 40 for _ in order])
    made_ids = model.generate(
        input_ids=rows,
        attention_mask=mask,
        do_sample=True,
        max_new_tokens=WORKLOAD.longest_response,
    )[:, 41:]
    return [row.tolist().index(tokenizer.eos_token_id) + 1 for row in made_ids]


def test_rows_end_at_their_keyed_lengths(made: tuple[Any, Any, list[tuple[int, ...]]]) -> None:
    model, tokenizer, prompts = made
    places = {ids: i for i, ids in enumerate(prompts)}
    keyed = KeyedLengths(WORKLOAD, places, [tokenizer.eos_token_id])
    force_lengths(model, keyed)
    first = [WORKLOAD.length_of(i, 1, k) for i in (0, 1) for k in (0, 1)]
    assert lengths(made, [0, 0, 1, 1]) == first
    second = [(1, 2, 0), (2, 1, 0), (1, 2, 1), (2, 1, 1)]
    assert lengths(made, [1, 2, 1, 2]) == [WORKLOAD.length_of(*place) for place in second]
    keyed.forget()
    assert lengths(made, [0, 0, 1, 1]) == first
