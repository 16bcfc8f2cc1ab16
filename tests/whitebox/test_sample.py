from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.whitebox.conftest import GENERATION, ask, sampled
from worker.cycle.ports import SampleRequest
from worker.cycle.types import Sample
from worker.whitebox.chat import Chat
from worker.whitebox.decode import BatchedSampler
from worker.whitebox.draw import draw, uniforms
from worker.whitebox.errors import Interrupted, NoRoom
from worker.whitebox.load import FolderModel
from worker.whitebox.opening import open_speaker
from worker.whitebox.policy import Speaker
from worker.whitebox.sample import Generation

REQUESTS = [
    SampleRequest(ask("Why is the sky blue, and since when?"), (1, 2, 3)),
    SampleRequest(ask("Hi"), (4, 5)),
    SampleRequest(ask("How do I bake bread without any yeast at all?"), (6, 7, 8, 9)),
]


def _each_alone(speaker: Speaker) -> list[list[Sample]]:
    return [
        [sampled(speaker, SampleRequest(r.prompt, (seed,)))[0][0] for seed in r.seeds]
        for r in REQUESTS
    ]


def _tokens(samples: list[list[Sample]]) -> list[list[tuple[int, ...]]]:
    return [[s.tokens for s in group] for group in samples]


def _with(speaker: Speaker, **settings: float) -> Speaker:
    return _speaking(speaker, speaker.chat, Generation(**{**vars(GENERATION), **settings}))


def _speaking(speaker: Speaker, chat: Chat, generation: Generation) -> Speaker:
    sampler = BatchedSampler(speaker.model, chat, generation)
    return Speaker(speaker.model, chat, generation, sampler)


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_a_row_is_sampled_alike_alone_and_in_a_batch(speaker: Speaker, top_p: float) -> None:
    nucleus = _with(speaker, top_p=top_p)
    together = sampled(nucleus, *REQUESTS)
    alone = _each_alone(nucleus)
    assert _tokens(together) == _tokens(alone)
    for ours, theirs in zip(chain(*together), chain(*alone), strict=True):
        assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-4)


def test_rows_that_leave_a_batch_early_do_not_disturb_the_others(speaker: Speaker) -> None:
    """With 24 of 259 tokens as ends, rows finish one by one and the batch shrinks several times."""
    prompt, seeds = ask("Hello"), tuple(range(12))
    terse = replace(speaker.chat, stop_ids=frozenset(range(24)))
    patient = _speaking(speaker, terse, replace(GENERATION, max_new_tokens=60))
    (together,) = sampled(patient, SampleRequest(prompt, seeds))
    assert len({len(s.tokens) for s in together}) > 6
    assert sum(s.finish == "stop" for s in together) > 6
    alone = [sampled(patient, SampleRequest(prompt, (seed,)))[0][0] for seed in seeds]
    assert [s.tokens for s in together] == [s.tokens for s in alone]


def test_splitting_into_small_batches_changes_no_token(speaker: Speaker) -> None:
    small = _with(speaker, batch_tokens=150)
    assert _tokens(sampled(small, *REQUESTS)) == _tokens(sampled(speaker, *REQUESTS))


def test_the_same_seed_gives_the_same_response_and_another_seed_another(speaker: Speaker) -> None:
    first, again, other = sampled(speaker, SampleRequest(ask("Hello"), (7, 7, 8)))[0]
    assert first == again
    assert first.tokens != other.tokens


def test_rows_end_at_the_end_token_or_at_the_limit(speaker: Speaker) -> None:
    samples = sampled(speaker, SampleRequest(ask("Hello"), tuple(range(200))))[0]
    finishes = {s.finish for s in samples}
    assert finishes == {"stop", "length"}
    for sample in samples:
        ends = [i for i, token in enumerate(sample.tokens) if token in speaker.chat.stop_ids]
        if sample.finish == "stop":
            assert ends == [len(sample.tokens) - 1]
        else:
            assert ends == []
            assert len(sample.tokens) == GENERATION.max_new_tokens
        assert "<|im_end|>" not in sample.text


def test_a_caller_may_interrupt_between_two_tokens(speaker: Speaker) -> None:
    answers = iter([False, False, True])
    impatient = replace(speaker, interrupted=lambda: next(answers))
    with pytest.raises(Interrupted):
        sampled(impatient, *REQUESTS)


def test_a_stream_ends_with_the_sampled_text(speaker: Speaker) -> None:
    prompt = ask("Hello")
    *_, last = speaker.stream(prompt.messages, seed=3)
    assert last == sampled(speaker, SampleRequest(prompt, (3,)))[0][0].text


def test_lengths_without_room_for_a_prompt_are_refused(speaker: Speaker) -> None:
    with pytest.raises(NoRoom, match="no room"):
        _with(speaker, max_new_tokens=200)


def test_a_low_temperature_is_greedy_and_the_recorded_logprob_stays_raw(speaker: Speaker) -> None:
    request = SampleRequest(ask("Hello"), (1, 2))
    cold = sampled(_with(speaker, temperature=1e-4, max_new_tokens=1), request)[0]
    warm = _with(speaker, max_new_tokens=1)
    assert cold[0].tokens == cold[1].tokens
    ids = torch.tensor([warm.prompt_ids(request.prompt.messages)])
    with torch.no_grad():
        best = speaker.model(ids).logits[0, -1].log_softmax(-1).max()
    assert cold[0].logprob == pytest.approx(best.item(), abs=1e-5)


PROBS = torch.tensor([[0.1, 0.5, 0.15, 0.25]])


def _share(top_p: float) -> list[float]:
    count = 1000
    logits = PROBS.log().expand(count, -1)
    even = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return (draw(logits, even, 1.0, top_p).bincount(minlength=4) / count).tolist()


def test_without_a_nucleus_tokens_are_drawn_in_their_proportion() -> None:
    assert _share(1.0) == pytest.approx([0.1, 0.5, 0.15, 0.25], abs=2e-3)


def test_the_nucleus_keeps_the_likeliest_tokens_up_to_the_one_that_reaches_top_p() -> None:
    assert _share(0.7) == pytest.approx([0, 2 / 3, 0, 1 / 3], abs=2e-3)
    assert _share(0.8) == pytest.approx([0, 5 / 9, 1.5 / 9, 2.5 / 9], abs=2e-3)
    assert _share(0.01) == [0, 1, 0, 0]


def test_a_flat_distribution_wider_than_the_head_is_sorted_whole() -> None:
    wide = torch.zeros(2, 5000)
    wide[1, 7] = 50.0
    drawn = draw(wide, torch.tensor([0.999, 0.999], dtype=torch.float64), 1.0, 0.95)
    assert drawn.tolist() == [4745, 7]


@given(st.integers(0, 2**63 - 1), st.integers(1, 20))
def test_a_rows_uniforms_come_from_its_seed_alone(seed: int, count: int) -> None:
    batch = uniforms([seed ^ 1, seed], count)
    assert torch.equal(batch[1], uniforms([seed], count)[0])
    assert ((batch >= 0) & (batch < 1)).all()


def test_a_base_model_stops_where_it_invents_the_next_human_turn(base_model: Path) -> None:
    chat = open_speaker(FolderModel(base_model), GENERATION).chat
    said = chat.tokenizer(" Sure.\n\nHuman:", add_special_tokens=False).input_ids
    assert [chat.ended(said[:n]) for n in (len(said) - 1, len(said))] == [False, True]
    kept = chat.without_stop(said)
    assert kept == tuple(said[: len(" Sure.")])
    assert chat.text(kept) == "Sure."
