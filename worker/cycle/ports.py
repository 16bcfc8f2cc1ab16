"""What a method needs of the outside: a policy to train and a judge to ask."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.cycle.types import At, Learned, Prompt, Question, Sample, TrainingRanking, Verdict


@dataclass(frozen=True)
class SampleRequest:
    """Sample one response per seed for one prompt."""

    prompt: Prompt
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Answers:
    """A prompt with samples of it."""

    prompt: Prompt
    samples: tuple[Sample, ...]


class Learning(Protocol):
    """What learns from rankings."""

    @property
    def version(self) -> int:
        """Optimizer steps taken so far."""
        ...

    def learn(self, rankings: Sequence[TrainingRanking]) -> list[Learned]:
        """Take one optimizer step on the mean loss of the rankings; one record each."""
        ...


class Valuing(Learning, Protocol):
    """A model that gives texts a value: a reward model its reward, a policy its belief."""

    def values(self, rankings: Sequence[TrainingRanking]) -> list[list[float]]:
        """The value of each text under the current weights, in the order of `texts`."""
        ...


class Policy(Learning, Protocol):
    """The white box. No tensor crosses this line."""

    def sample(self, requests: Sequence[SampleRequest]) -> Iterator[tuple[int, list[Sample]]]:
        """Sample all requests under the current weights.

        Yields a request's index and its samples, one a seed, as soon as all of them are complete,
        in an order that depends on weights and requests alone.
        """
        ...

    def score(self, answers: Sequence[Answers]) -> list[list[float]]:
        """Token-mean log-probability of each sample under the current weights, in nats."""
        ...

    def foresee(self, answers: Answers) -> None:
        """Do now what the next `learn` would do first if it ranked these; results stay the same."""
        ...


@dataclass(frozen=True)
class Traits:
    """What a judge can do; settings that need more are refused or reported as not applicable."""

    reads_demonstrations: bool
    writes_response: bool
    gives_ties: bool
    gives_scores: bool


class Pending(Protocol):
    """A question on its way."""

    def done(self) -> bool:
        """Whether `result` would return, or raise, at once."""
        ...

    def result(self) -> Verdict:
        """Wait for the verdict; raises what asking raised."""
        ...


@dataclass(frozen=True)
class Answered:
    """A verdict that is already here, from judges that answer in place."""

    verdict: Verdict

    def done(self) -> bool:
        """It is here."""
        return True

    def result(self) -> Verdict:
        """Return it."""
        return self.verdict


class Judge(Protocol):
    """The black box, asked through the ledger."""

    @property
    def traits(self) -> Traits:
        """What this judge can do."""
        ...

    def submit(self, at: At, question: Question) -> Pending:
        """Ask, with one re-ask after a malformed reply; never answered twice for money."""
        ...


State = Mapping[str, object]
"""A method's own state at a round's end, as JSON: what a resumed run goes on from."""
