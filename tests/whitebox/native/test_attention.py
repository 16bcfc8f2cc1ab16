"""Attention of the kernels, in learning and in a decoding step, beside float64."""

import pytest
import torch
from torch import Tensor

from tests.whitebox.native.conftest import Draw, close
from worker.whitebox.native.attention import Segments, attend, slopes
from worker.whitebox.native.heads import Heads
from worker.whitebox.native.stepping import Kept, Rows, attend_step

CUTS = [Heads(4, 4, 32, 0.2), Heads(6, 2, 64, 0.125), Heads(2, 1, 128, 0.1), Heads(2, 2, 96, 0.1)]
SEGMENTS = [
    Segments((0, 9, 12, 12, 50), prompt=9),  # a prompt and three responses, one of them empty
    Segments((0, 40, 77, 140), prompt=40),
    Segments((0, 20, 40, 60)),  # three texts by themselves
    Segments((0, 33)),
]


def _seen(segments: Segments) -> Tensor:
    """Which token sees which."""
    total = segments.starts[-1]
    sees = torch.zeros(total, total, dtype=torch.bool)
    for start, end in zip(segments.starts, segments.starts[1:], strict=False):
        sees[start:end, start:end] = True
        if start:
            sees[start:end, : segments.prompt] = True
    return sees.tril()


def _formula(wide: Tensor, heads: Heads, segments: Segments) -> tuple[Tensor, Tensor]:
    every = wide.view(len(wide), -1, heads.size).transpose(0, 1)
    query, key, value = torch.split(every, [heads.queries, heads.shared, heads.shared])
    times = heads.queries // heads.shared
    key, value = (one.repeat_interleave(times, 0) for one in (key, value))
    scores = (query @ key.mT * heads.scale).masked_fill(~_seen(segments), float("-inf"))
    out = (scores.softmax(-1) @ value).transpose(0, 1).flatten(1)
    return out, scores.logsumexp(-1)


@pytest.mark.parametrize("heads", CUTS)
@pytest.mark.parametrize("segments", SEGMENTS)
def test_attention_in_learning_and_its_way_back(
    draw: Draw, heads: Heads, segments: Segments
) -> None:
    wide = draw(segments.starts[-1], (heads.queries + 2 * heads.shared) * heads.size)
    slope = draw(len(wide), heads.queries * heads.size)
    exact = wide.double().requires_grad_()
    wanted, sums = _formula(exact, heads, segments)
    (of_wide,) = torch.autograd.grad(wanted, exact, slope.double())
    out, log_sums = attend(wide, heads, segments)
    assert close(out, wanted)
    assert close(log_sums, sums)
    assert close(slopes(slope, wide, (out, log_sums), heads, segments), of_wide)


FEW = [0, 0, 2, 1]
MANY = [*[0] * 6, 2, *[1] * 9, *[0] * 2, *[2] * 18]
"""The prompts that rows read: enough rows to be taken by several."""


@pytest.mark.parametrize("reads", [FEW, MANY])
@pytest.mark.parametrize("heads", CUTS)
def test_a_decoding_step_sees_the_prompt_behind_its_padding_and_the_rows_own_tokens(
    draw: Draw, heads: Heads, reads: list[int]
) -> None:
    prompts, slots, before, own = 3, len(reads) + 2, 70, 4
    starts, kept_in = [0, 3, 61], list(reversed(range(2, slots)))
    size = (heads.shared, 12, heads.size)
    kept = Kept(
        draw(prompts, heads.shared, before, heads.size),
        draw(prompts, heads.shared, before, heads.size),
        draw(2, slots, *size),
    )
    wide = draw(len(reads), (heads.queries + 2 * heads.shared) * heads.size)
    places = (torch.tensor(kept_in), torch.tensor(reads), torch.tensor(starts))
    rows = Rows(*places, own)
    out = attend_step(wide, heads, rows, kept)
    for row, (slot, prompt) in enumerate(zip(kept_in, reads, strict=True)):
        cut = [heads.queries, heads.shared, heads.shared]
        query, *new = torch.split(wide[row].view(-1, heads.size), cut)
        seen = [
            torch.cat([of[prompt, :, starts[prompt] :], mine[slot, :, :own], one[:, None]], 1)
            for of, mine, one in zip(
                (kept.keys_PhTd, kept.values_PhTd), kept.own_2Rhtd, new, strict=True
            )
        ]
        key, value = (
            one.double().repeat_interleave(heads.queries // heads.shared, 0) for one in seen
        )
        weights = (key @ query.double()[:, :, None] * heads.scale).softmax(1)
        assert close(out[row], (weights * value).sum(1).flatten())
        assert torch.equal(kept.own_2Rhtd[:, slot, :, own], torch.stack(new))
        by_itself = Rows(places[0][row : row + 1], places[1][row : row + 1], places[2], own)
        assert torch.equal(attend_step(wide[row : row + 1], heads, by_itself, kept)[0], out[row])
