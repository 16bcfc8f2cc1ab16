"""A model that answers and also tells how likely it finds given responses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from worker.cycle.ports import SampleRequest
from worker.cycle.types import Dialogue, Sample
from worker.whitebox.attention import can_share
from worker.whitebox.policy import Speaker
from worker.whitebox.sample import texts_of
from worker.whitebox.score import Scorer, has_plain_head


@dataclass(frozen=True)
class Reader:
    """A speaker with the scorer of its own model."""

    speaker: Speaker
    scorer: Scorer

    def sample(self, requests: Sequence[SampleRequest]) -> Iterator[tuple[int, list[Sample]]]:
        """One answer a seed, as the speaker gives them."""
        return self.speaker.sample(requests)

    def value(self, messages: Dialogue, responses: Sequence[str]) -> list[float]:
        """Token-mean log-probability of each response, in nats."""
        texts = texts_of(self.speaker.chat, self.speaker.generation, messages, responses)
        return self.scorer.values([texts])[0]


def open_reader(speaker: Speaker) -> Reader:
    """Put a scorer beside a speaker."""
    model = speaker.model.requires_grad_(requires_grad=False)
    return Reader(
        speaker,
        Scorer(
            model,
            speaker.generation.precision,
            "auto" if can_share(model) else "off",
            plain_head=has_plain_head(model),
        ),
    )
