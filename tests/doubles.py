"""A policy and a judge of few lines that behave like the real ones, for tests of the method."""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from worker.cycle.ports import Answered, Answers, Pending, SampleRequest, Traits
from worker.cycle.ranking import from_scores
from worker.cycle.types import (
    At,
    Learned,
    Question,
    Ranked,
    Sample,
    TrainingRanking,
    Verdict,
)

WORDS = ("<end>", "yes", "no", "maybe", "never")
LONGEST = 3


@dataclass
class ToyPolicy:
    """A unigram model over five words: it says nothing, repeats itself and learns.

    `deepcopy` is its checkpoint. `sampled` keeps the batches, `learnt` the updates.
    """

    weights: list[float] = field(default_factory=lambda: [0.0] * len(WORDS))
    version: int = 0
    sampled: list[list[SampleRequest]] = field(default_factory=list)
    learnt: list[TrainingRanking] = field(default_factory=list)
    foreseen: list[Answers] = field(default_factory=list)

    def sample(self, requests: Sequence[SampleRequest]) -> Iterator[tuple[int, list[Sample]]]:
        """Sample each seed alone, so that batch mates change nothing."""
        self.sampled.append(list(requests))
        for index, request in enumerate(requests):
            yield index, [self._sample(seed) for seed in request.seeds]

    def score(self, answers: Sequence[Answers]) -> list[list[float]]:
        """Token-mean log-probability under the current weights."""
        log = self._log_probabilities()
        return [[sum(log[t] for t in s.tokens) / len(s.tokens) for s in a.samples] for a in answers]

    def foresee(self, answers: Answers) -> None:
        """Note what was foreseen."""
        self.foreseen.append(answers)

    def learn(self, rankings: Sequence[TrainingRanking]) -> list[Learned]:
        """Make the words of better texts likelier than those of worse ones."""
        self.learnt += rankings
        for ranking in rankings:
            self._lean(ranking, 0.1 / len(rankings))
        self.version += 1
        return [Learned(self.version, sum(self.weights), 0.0, 0.0, 1.0, 0.0, 0.1, ())] * len(
            rankings
        )

    def _lean(self, ranking: TrainingRanking, rate: float) -> None:
        place = {k: p for p, group in enumerate(ranking.groups) for k in group}
        middle = (len(ranking.groups) - 1) / 2
        for k, text in enumerate(ranking.texts):
            for word in filter(WORDS.__contains__, text.split()):
                self.weights[WORDS.index(word)] += rate * (middle - place[k])

    def _sample(self, seed: int) -> Sample:
        draw, log = random.Random(seed), self._log_probabilities()
        tokens: list[int] = []
        while len(tokens) < LONGEST and 0 not in tokens:
            tokens += draw.choices(range(len(WORDS)), [math.exp(x) for x in log])
        text = " ".join(WORDS[token] for token in tokens if token)
        finish = "stop" if 0 in tokens else "length"
        logprob = sum(log[token] for token in tokens)
        return Sample(text, tuple(tokens), logprob, finish, seed, self.version)

    def _log_probabilities(self) -> list[float]:
        total = math.log(sum(math.exp(weight) for weight in self.weights))
        return [weight - total for weight in self.weights]


READER = Traits(
    reads_demonstrations=True, writes_response=False, gives_ties=False, gives_scores=False
)
TEACHER = Traits(
    reads_demonstrations=True, writes_response=True, gives_ties=False, gives_scores=False
)
SCORER = Traits(
    reads_demonstrations=False, writes_response=False, gives_ties=True, gives_scores=True
)


def alphabetically(text: str) -> float:
    """A judge's taste without ties: the earlier in the alphabet, the better."""
    return -int.from_bytes(text.encode().ljust(24, b"\0")[:24], "big")


def by_length(text: str) -> float:
    """A judge's taste with ties, in [0, 1]."""
    return min(1.0, len(text) / 20)


@dataclass
class RuleJudge:
    """Ranks by a rule over texts, so that it cannot be biased by their order."""

    rule: Callable[[str], float] = alphabetically
    traits: Traits = READER
    writes: Callable[[Question], str | None] = lambda _: None
    instead: Mapping[At, Verdict] = field(default_factory=dict)
    """Verdicts given at some places in place of the rule's."""
    asked: list[tuple[At, Question]] = field(default_factory=list)

    def submit(self, at: At, question: Question) -> Pending:
        """Keep the question and answer it."""
        self.asked.append((at, question))
        return Answered(self.instead.get(at) or self._ranked(question))

    def _ranked(self, question: Question) -> Ranked:
        scores = tuple(self.rule(text) for text in question.responses)
        return Ranked(
            from_scores(dict(enumerate(scores))),
            teacher=self.writes(question) if question.wants_response else None,
            scores=scores if self.traits.gives_scores else None,
        )
