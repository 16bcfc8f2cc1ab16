"""Builds a speaker or a white box out of its parts."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from worker.objectives.types import Objective
from worker.whitebox.attention import can_share, share_prompts
from worker.whitebox.chat import Chat, open_chat
from worker.whitebox.decode import BatchedSampler
from worker.whitebox.frozen import Layout
from worker.whitebox.generate import GenerateSampler
from worker.whitebox.kernels import use_fused_kernels
from worker.whitebox.learn import Learner
from worker.whitebox.load import Source, load_model
from worker.whitebox.policy import Speaker, WhiteBox
from worker.whitebox.reward import HEAD, RewardScorer, reward_model_of
from worker.whitebox.sample import Generation, Mute, Sampler, never
from worker.whitebox.schedule import OptimizerConfig
from worker.whitebox.score import Scorer, has_plain_head
from worker.whitebox.start import start_of
from worker.whitebox.strips import SharedPrompt
from worker.whitebox.tuning import LoraTuning, Tuning, tune

MakeSampler = Callable[[Any, Chat, Generation], Sampler]


@dataclass(frozen=True)
class Learning:
    """How a step is computed; none of it changes what is learnt but in the last bits."""

    shared_prompt: SharedPrompt = "auto"
    """Whether a prompt is computed once for all its responses; `off` is the bit-exact profile."""
    batch_tokens: int = 16_384
    """Rows times the longest row of a forward pass."""
    checkpointing: bool = False
    """Whether activations are computed anew for the backward pass: slower, in less memory."""
    merged_sampling: bool = True
    """Whether float32 weights are held a second time with their adapters added in, to sample."""
    layout: Layout = "packed"
    """Of frozen weights on a CPU: `own` is the bit-exact profile and needs no more memory."""
    compiled: bool = True
    """Whether the kernels in C compute what they can of the model, where there are any and unless
    weights lie as their own."""


def open_speaker(
    source: Source,
    generation: Generation,
    *,
    chat: Literal["auto", "template", "plain"] = "auto",
    cache: Path | None = None,
    make_sampler: MakeSampler | None = None,
    interrupted: Callable[[], bool] = never,
) -> Speaker:
    """Load a model that only answers; `cache` is where converted GGUF models are kept.

    Without `make_sampler` it is our batched one, or the library's for a model that ours cannot run.

    Raises:
        ModelRejected: the model cannot or must not be loaded.
        NoRoom: the generation's lengths leave no token for the prompt.
    """
    model, tokenizer = load_model(source, cache=cache)
    return make_speaker(model, tokenizer, generation, chat, make_sampler, interrupted)


def make_speaker(
    model: Any,
    tokenizer: Any,
    generation: Generation,
    chat: Literal["auto", "template", "plain"] = "auto",
    make_sampler: MakeSampler | None = None,
    interrupted: Callable[[], bool] = never,
) -> Speaker:
    """Put a loaded model to speak.

    Raises:
        ModelRejected: the tokenizer names no end, or has no template where one is asked for.
        NoRoom: the generation's lengths leave no token for the prompt.
    """
    spoken = open_chat(tokenizer, chat, _end_tokens(model))
    use_fused_kernels(model)
    if can_share(model):
        share_prompts(model)
    make = make_sampler or (BatchedSampler if can_share(model) else GenerateSampler)
    return Speaker(model, spoken, generation, make(model, spoken, generation), interrupted)


def make_trainable(
    speaker: Speaker,
    tuning: Tuning,
    objective: Objective,
    optimizer: OptimizerConfig,
    *,
    total_updates: int,
    seed: int = 0,
    learning: Learning | None = None,
    head: str | None = None,
) -> WhiteBox:
    """Turn a speaker into a policy; the speaker's model is tuned in place and no longer its own.

    `seed` draws the adapters. With a `head`, that of a reward model, it learns rewards.
    """
    learning = learning or Learning()
    precision = speaker.generation.precision
    if precision == "bfloat16" and isinstance(tuning, LoraTuning):
        speaker.model.to(torch.bfloat16)
    # the mask of a shared prompt would take the place of a model's windows
    shared_prompt = learning.shared_prompt if can_share(speaker.model) else "off"
    model = tune(
        speaker.model,
        tuning,
        seed,
        checkpointing=learning.checkpointing,
        merged=learning.merged_sampling,
        layout=learning.layout,
        compiled=learning.compiled,
        head=head,
    )
    make = Scorer if head is None else RewardScorer
    scorer = make(
        model,
        precision,
        shared_prompt,
        learning.batch_tokens,
        plain_head=head is None and has_plain_head(model),
        checkpointing=learning.checkpointing,
    )
    start = start_of(scorer) if objective.needs_reference else None
    learner = Learner(scorer, objective, optimizer, total_updates=total_updates, start=start)
    return WhiteBox(replace(speaker, model=model), learner)


def make_reward_trainable(
    speaker: Speaker,
    tuning: Tuning,
    objective: Objective,
    optimizer: OptimizerConfig,
    *,
    total_updates: int,
    seed: int = 0,
    learning: Learning | None = None,
) -> WhiteBox:
    """Turn a speaker into a reward model to train, as `make_trainable` does into a policy.

    It no longer speaks. `seed` draws the head and the adapters.

    Raises:
        ModelRejected: there is no reward model of this architecture.
    """
    reward_model = reward_model_of(speaker.model, seed)
    return make_trainable(
        replace(speaker, model=reward_model, sampler=Mute()),
        tuning,
        objective,
        optimizer,
        total_updates=total_updates,
        seed=seed,
        learning=replace(learning or Learning(), merged_sampling=False),
        head=HEAD,
    )


def _end_tokens(model: Any) -> tuple[int, ...]:
    """What the model's own generation settings call an end: nothing, one token or several."""
    ends = model.generation_config.eos_token_id
    if ends is None:
        return ()
    return (ends,) if isinstance(ends, int) else tuple(ends)
