"""Builds a speaker or a white box out of its parts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from worker.objectives.types import Objective
from worker.whitebox.chat import open_chat
from worker.whitebox.learn import Learner
from worker.whitebox.load import Source, load_model
from worker.whitebox.policy import Speaker, WhiteBox
from worker.whitebox.sample import Generation, never
from worker.whitebox.schedule import OptimizerConfig
from worker.whitebox.tuning import Tuning, tune


def open_speaker(
    source: Source,
    generation: Generation,
    *,
    chat: Literal["auto", "template", "plain"] = "auto",
    cache: Path | None = None,
    interrupted: Callable[[], bool] = never,
) -> Speaker:
    """Load a model that only answers; `cache` is where converted GGUF models are kept.

    Raises:
        ModelRejected: the model cannot or must not be loaded.
        NoRoom: the generation's lengths leave no token for the prompt.
    """
    model, tokenizer = load_model(source, cache=cache)
    return Speaker(model, open_chat(tokenizer, chat, _end_tokens(model)), generation, interrupted)


def make_trainable(
    speaker: Speaker,
    tuning: Tuning,
    objective: Objective,
    optimizer: OptimizerConfig,
    *,
    total_updates: int,
    seed: int = 0,
    chunk: int | None = None,
) -> WhiteBox:
    """Turn a speaker into a policy; the speaker's model is tuned in place and no longer its own.

    `seed` draws the adapters; `chunk` bounds how many responses hold activations at once.
    """
    model = tune(speaker.model, tuning, seed)
    learner = Learner(
        model,
        objective,
        optimizer,
        total_updates=total_updates,
        precision=speaker.generation.precision,
        chunk=chunk,
    )
    return WhiteBox(replace(speaker, model=model), learner)


def _end_tokens(model: Any) -> tuple[int, ...]:
    """What the model's own generation settings call an end: nothing, one token or several."""
    ends = model.generation_config.eos_token_id
    if ends is None:
        return ()
    return (ends,) if isinstance(ends, int) else tuple(ends)
