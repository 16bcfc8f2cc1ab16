"""The library's samplers against our own batches, on the same weights and the same seeds."""

import copy
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoTokenizer, MistralConfig, MistralForCausalLM

from app.core.spec.job import GenerationSpec
from tests.whitebox.conftest import ADAMW, GENERATION, LORA, ask, lesson, sampled, taught
from worker.cycle.ports import Answers, SampleRequest
from worker.objectives.pro import Pro
from worker.parts import build_sampler
from worker.whitebox.adapters import save_adapters
from worker.whitebox.continuous import ContinuousSampler
from worker.whitebox.decode import BatchedSampler
from worker.whitebox.errors import Interrupted, SamplerMissing, SamplingFailed
from worker.whitebox.generate import GenerateSampler
from worker.whitebox.load import FolderModel, load_model
from worker.whitebox.opening import MakeSampler, make_speaker, make_trainable
from worker.whitebox.policy import Speaker, WhiteBox
from worker.whitebox.sample import Drawn, Generation, Row, Sampler
from worker.whitebox.tuning import FullTuning, Tuning

LIBRARYS = pytest.mark.parametrize(
    "make", [GenerateSampler, ContinuousSampler], ids=["generate", "continuous"]
)


def _rows(count: int = 20) -> list[Row]:
    """Prompts of 3 to 99 tokens, some of them twice; every third response is cut at 5 tokens."""
    chance = random.Random(0)
    prompts = [
        tuple(chance.randrange(256) for _ in range(chance.randrange(3, 100))) for _ in range(12)
    ]
    return [Row(chance.choice(prompts), seed, None if seed % 3 else 5) for seed in range(count)]


def _drawn(sampler: Sampler, rows: Sequence[Row]) -> list[Drawn]:
    found = dict(sampler.sample(rows, 0))
    return [found[i] for i in range(len(rows))]


def _assert_alike(ours: Sequence[Drawn], theirs: Sequence[Drawn]) -> None:
    assert [d.tokens for d in ours] == [d.tokens for d in theirs]
    assert [d.ended for d in ours] == [d.ended for d in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


@LIBRARYS
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9)])
def test_the_same_seeds_give_the_same_responses(
    speaker: Speaker, make: MakeSampler, temperature: float, top_p: float
) -> None:
    generation = replace(GENERATION, temperature=temperature, top_p=top_p)
    ours = _drawn(BatchedSampler(speaker.model, speaker.chat, generation), _rows())
    theirs = _drawn(make(speaker.model, speaker.chat, generation), _rows())
    _assert_alike(theirs, ours)
    assert [len(d.tokens) <= 5 for d in theirs[::3]] == [True] * len(theirs[::3])
    assert any(len(d.tokens) > 5 for d in theirs)


@LIBRARYS
def test_room_for_few_rows_changes_no_token(speaker: Speaker, make: MakeSampler) -> None:
    small = replace(GENERATION, batch_tokens=150)
    _assert_alike(
        _drawn(make(speaker.model, speaker.chat, small), _rows()),
        _drawn(make(speaker.model, speaker.chat, GENERATION), _rows()),
    )


@LIBRARYS
def test_stop_strings_and_stop_tokens_end_responses(speaker: Speaker, make: MakeSampler) -> None:
    stop_ids = frozenset({speaker.chat.end_id, *range(8)})
    chat = replace(speaker.chat, stop_ids=stop_ids, stop_strings=("e", "th", "X"))
    theirs = _drawn(make(speaker.model, chat, GENERATION), _rows(40))
    _assert_alike(theirs, _drawn(BatchedSampler(speaker.model, chat, GENERATION), _rows(40)))
    last = [drawn.tokens[-1] for drawn in theirs if drawn.ended]
    assert {token in chat.stop_ids for token in last} == {True, False}
    assert all(chat.ended(drawn.tokens) for drawn in theirs if drawn.ended)


@LIBRARYS
def test_settings_that_came_with_the_model_alter_no_logits(
    speaker: Speaker, make: MakeSampler
) -> None:
    ours = _drawn(BatchedSampler(speaker.model, speaker.chat, GENERATION), _rows())
    settings = speaker.model.generation_config
    settings.repetition_penalty, settings.min_new_tokens = 5.0, 20
    _assert_alike(_drawn(make(speaker.model, speaker.chat, GENERATION), _rows()), ours)
    assert speaker.model.generation_config is settings


@LIBRARYS
def test_a_caller_may_interrupt(speaker: Speaker, make: MakeSampler) -> None:
    answers = iter([False] * 3 + [True] * 50)
    sampler = make(speaker.model, speaker.chat, GENERATION)
    patient = replace(GENERATION, max_new_tokens=100)
    impatient = make(speaker.model, speaker.chat, patient)
    before = set(threading.enumerate())
    with pytest.raises(Interrupted):
        list(impatient.sample(_rows(), 0, lambda: next(answers)))
    assert set(threading.enumerate()) <= before
    assert len(_drawn(sampler, _rows())) == 20


def test_continuous_batching_repeats_bit_by_bit_on_one_thread(speaker: Speaker) -> None:
    sampler = ContinuousSampler(speaker.model, speaker.chat, GENERATION)
    once, again = (list(sampler.sample(_rows(), 0)) for _ in range(2))
    assert once == again


def test_continuous_batching_yields_short_responses_first(speaker: Speaker) -> None:
    sampler = ContinuousSampler(speaker.model, speaker.chat, GENERATION)
    lengths = [len(drawn.tokens) for _, drawn in sampler.sample(_rows(), 0)]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_a_caller_that_leaves_early_leaves_no_loop_behind(speaker: Speaker) -> None:
    attention, threads = speaker.model.config._attn_implementation, set(threading.enumerate())
    sampling = ContinuousSampler(speaker.model, speaker.chat, GENERATION).sample(_rows(), 0)
    next(sampling)
    sampling.close()  # type: ignore[attr-defined]  # it is a generator
    assert speaker.model.config._attn_implementation == attention
    assert set(threading.enumerate()) <= threads


def test_a_loop_that_fails_says_why(speaker: Speaker) -> None:
    sampler = ContinuousSampler(speaker.model, speaker.chat, GENERATION)
    with pytest.raises(SamplingFailed, match="out of range"):
        list(sampler.sample([Row((10_000, 1), 0)], 0))


REQUESTS = [
    SampleRequest(ask("Why is the sky blue, and since when? Tell me all about it."), (1, 2, 3)),
    SampleRequest(ask("Hi"), (4, 5)),
]


def _in_turn(policy: WhiteBox) -> tuple[Any, Any]:
    """Samples by our batches and by continuous batching of the policy's weights as they are."""
    speaker = policy.speaker
    theirs = ContinuousSampler(speaker.sampler.model, speaker.chat, speaker.generation)  # type: ignore[attr-defined]  # of BatchedSampler
    continuous = WhiteBox(replace(speaker, sampler=theirs), policy.learner)
    return sampled(policy, *REQUESTS), sampled(continuous, *REQUESTS)


@pytest.mark.parametrize("tuning", [LORA, FullTuning()], ids=["lora", "full"])
def test_after_an_update_the_next_sample_is_of_the_new_weights(
    make_policy: Callable[..., WhiteBox], tuning: Tuning
) -> None:
    policy = make_policy(tuning)
    before = _in_turn(policy)
    for _ in range(3):
        taught(policy, lesson(REQUESTS[0].prompt, "Because.", "No."))
    after = _in_turn(policy)
    for ours, theirs in (before, after):
        assert [[s.tokens for s in group] for group in ours] == [
            [s.tokens for s in group] for group in theirs
        ]
    assert before[1][0][0].tokens != after[1][0][0].tokens
    assert after[1][0][0].version == 3


def test_a_caller_may_score_while_others_are_sampled(make_policy: Callable[..., WhiteBox]) -> None:
    policy = make_policy()
    speaker = policy.speaker
    theirs = ContinuousSampler(speaker.model, speaker.chat, speaker.generation)
    continuous = WhiteBox(replace(speaker, sampler=theirs), policy.learner)
    scores = {}
    for i, samples in continuous.sample(REQUESTS):
        continuous.foresee(Answers(REQUESTS[i].prompt, tuple(samples)))
        [scores[i]] = continuous.score([Answers(REQUESTS[i].prompt, tuple(samples))])
        means = [s.logprob / len(s.tokens) for s in samples]
        assert scores[i] == pytest.approx(means, abs=1e-4)
    assert sorted(scores) == [0, 1]


WINDOW = 12
"""Shorter than any prompt of the tests, so that a wrong mask shows."""


@pytest.fixture
def windowed(chat_model: Path) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(chat_model)
    config = MistralConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=WINDOW,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MistralForCausalLM(config).eval(), tokenizer


def test_a_model_with_a_window_is_sampled_by_generate_and_learns(windowed: Any) -> None:
    model, tokenizer = windowed
    speaker = make_speaker(model, tokenizer, GENERATION)
    assert isinstance(speaker.sampler, GenerateSampler)
    policy = make_trainable(speaker, LORA, Pro(), ADAMW, total_updates=10, seed=1)
    [samples] = sampled(policy, SampleRequest(ask("Why is the sky so very blue?"), (1, 2, 3)))
    answers = Answers(ask("Why is the sky so very blue?"), tuple(samples))
    means = [s.logprob / len(s.tokens) for s in samples]
    assert policy.score([answers, answers])[1] == pytest.approx(means, abs=1e-4)
    shown = lesson(answers.prompt, "Because of light.", "No.", "What?")
    losses = [taught(policy, shown).loss for _ in range(6)]
    assert losses[-1] < 0.8 * losses[0]


def test_a_windowed_models_response_is_that_of_whole_passes(windowed: Any) -> None:
    model, tokenizer = windowed
    speaker = make_speaker(model, tokenizer, Generation(max_new_tokens=8, max_length=200))
    row = Row(speaker.prompt_ids(ask("Why is the sky so very blue?").messages), 3)
    [drawn] = _drawn(speaker.sampler, [row])
    with torch.no_grad():
        logits = model(torch.tensor([[*row.prompt, *drawn.tokens]])).logits[0].log_softmax(-1)
    places = range(len(row.prompt) - 1, len(row.prompt) + len(drawn.tokens) - 1)
    whole = [logits[at, token].item() for at, token in zip(places, drawn.tokens, strict=True)]
    assert drawn.logprobs == pytest.approx(whole, abs=1e-4)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's own
def test_adapters_written_for_another_holder_of_the_base_are_the_same_model(
    make_policy: Callable[..., WhiteBox], chat_model: Path, tmp_path: Path
) -> None:
    policy = make_policy()
    taught(policy, lesson(ask("Hi"), "Hello.", "No."))
    base = policy.speaker.model.get_base_model()
    save_adapters(base, tmp_path)
    loaded = PeftModel.from_pretrained(load_model(FolderModel(chat_model))[0], tmp_path)
    tokens = torch.arange(20)[None]
    with torch.no_grad():
        torch.testing.assert_close(loaded(tokens).logits, base(tokens).logits)


def test_a_job_names_its_sampler() -> None:
    assert build_sampler(GenerationSpec()) is None
    assert build_sampler(GenerationSpec(sampler="generate")) is GenerateSampler
    assert build_sampler(GenerationSpec(sampler="continuous")) is ContinuousSampler


@pytest.mark.skipif(torch.cuda.is_available(), reason="there a GPU would let it run")
def test_vllm_says_what_it_lacks(speaker: Speaker) -> None:
    make = build_sampler(GenerationSpec(sampler="vllm"))
    assert make is not None
    with pytest.raises(SamplerMissing, match="the sampler `vllm` needs"):
        make(copy.copy(speaker.model), speaker.chat, GENERATION)
