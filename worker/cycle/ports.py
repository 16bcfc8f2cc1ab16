"""What a method needs of the outside: a policy to train and a judge to ask."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.cycle.types import At, Learned, Prompt, Question, Sample, TrainingRanking, Verdict


@dataclass(frozen=True)
class SampleRequest:
    """Sample one response per seed for one prompt."""

    prompt: Prompt
    seeds: tuple[int, ...]


class Policy(Protocol):
    """The white box. No tensor crosses this line."""

    @property
    def version(self) -> int:
        """Optimizer steps taken so far."""
        ...

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[Sample]]:
        """Sample all requests in one batch under the current weights."""
        ...

    def score(self, prompt: Prompt, samples: Sequence[Sample]) -> list[float]:
        """Token-mean log-probability of each sample under the current weights, in nats."""
        ...

    def learn(self, ranking: TrainingRanking) -> Learned:
        """Take one optimizer step on one ranking."""
        ...


@dataclass(frozen=True)
class Traits:
    """What a judge can do; settings that need more are refused or reported as not applicable."""

    reads_demonstrations: bool
    writes_response: bool
    gives_ties: bool
    gives_scores: bool


class Judge(Protocol):
    """The black box, asked through the ledger."""

    @property
    def traits(self) -> Traits:
        """What this judge can do."""
        ...

    def rank(self, at: At, question: Question) -> Verdict:
        """Ask once, with one re-ask after a malformed reply; never answered twice for money."""
        ...


State = Mapping[str, object]
"""A method's own state at a round's end, as JSON: what a resumed run goes on from."""
