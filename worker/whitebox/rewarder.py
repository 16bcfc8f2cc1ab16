"""A reward model that only scores: texts in, rewards out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from transformers import AutoModelForSequenceClassification

from worker.cycle.ports import SampleRequest
from worker.cycle.types import Dialogue, Sample
from worker.whitebox.attention import can_share, share_prompts
from worker.whitebox.chat import Chat, open_chat
from worker.whitebox.load import Source, load_model
from worker.whitebox.reward import RewardScorer, require_head
from worker.whitebox.sample import Generation, texts_of


@dataclass(frozen=True)
class Rewarder:
    """A loaded reward model with its chat format and lengths."""

    scorer: RewardScorer
    chat: Chat
    generation: Generation
    """Of it the lengths: prompts are cut to leave room for a response, which is cut to the rest."""

    def rewards(self, messages: Dialogue, responses: Sequence[str]) -> tuple[list[float], int]:
        """The reward of each response, and how many tokens were read."""
        texts = texts_of(self.chat, self.generation, messages, responses)
        return self.scorer.values([texts])[0], texts.together

    def sample(self, requests: Sequence[SampleRequest]) -> Iterator[tuple[int, list[Sample]]]:  # noqa: ARG002 - there is nothing to do with them
        """Raises `TypeError`."""
        raise TypeError("a reward model does not sample")

    def value(self, messages: Dialogue, responses: Sequence[str]) -> list[float]:
        """The rewards alone."""
        return self.rewards(messages, responses)[0]


def open_rewarder(
    source: Source, generation: Generation, *, chat: Literal["auto", "template", "plain"] = "auto"
) -> Rewarder:
    """Load a model for sequence classification with one output.

    Raises:
        ModelRejected: it is missing, unsafe, or no reward model.
    """
    model, tokenizer = load_model(source, kind=AutoModelForSequenceClassification)
    require_head(model).requires_grad_(requires_grad=False)
    if can_share(model):
        share_prompts(model)
    if generation.precision == "bfloat16":
        model.to(torch.bfloat16)
    scorer = RewardScorer(model, generation.precision, "auto" if can_share(model) else "off")
    return Rewarder(scorer, open_chat(tokenizer, chat), generation)
