"""One turn of a lane up to the judge: its samples become candidates, a belief and a question."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from worker.cycle.candidates import kept, merge
from worker.cycle.events import Iterated, Outcome
from worker.cycle.lanes import Lane
from worker.cycle.orders import shifted
from worker.cycle.ports import Answers
from worker.cycle.ranking import from_scores, is_ranking_of, relabel
from worker.cycle.types import (
    At,
    Candidate,
    Demonstration,
    Order,
    Question,
    Ranked,
    Ranking,
    Sample,
    Verdict,
)

STAGE = "align"


@dataclass(frozen=True)
class Turn:
    """What stands before the judge; `question` is None if fewer than two candidates are left."""

    lane: Lane
    round: int
    """The round that learns from it."""
    samples: tuple[Sample, ...]
    merged: Mapping[int, int]
    presented: tuple[int, ...]
    question: Question | None
    beliefs: Mapping[int, float] = field(default_factory=dict)
    """Token-mean log-probability of each distinct sample under the weights that sampled it."""

    @property
    def at(self) -> At:
        """Its place in the run."""
        return place(self.lane)

    @property
    def wants_response(self) -> bool:
        """Whether the judge was asked to write a better answer."""
        return self.question is not None and self.question.wants_response

    @property
    def answers(self) -> Answers:
        """The samples that may be judged, in the order of sampling."""
        return Answers(self.lane.prompt, tuple(self.samples[k] for k in distinct(self.samples)))

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The distinct samples with the white box's belief in them."""
        return tuple(Candidate(k, self.samples[k].text, b) for k, b in self.beliefs.items())

    @property
    def white(self) -> Ranking:
        """Groups of sample indices by belief."""
        return from_scores({candidate.k: candidate.belief for candidate in self.candidates})

    def questions(self, orders: int) -> tuple[Question, ...]:
        """The question in so many cyclic orders, but no more than there are candidates.

        Only the first one asks for a better answer.
        """
        first = self.question
        if first is None:
            return ()
        return tuple(
            replace(
                first,
                responses=shifted(first.responses, shift),
                wants_response=first.wants_response and not shift,
            )
            for shift in range(min(orders, len(self.presented)))
        )

    def orders(self, verdicts: Sequence[Verdict]) -> tuple[Order, ...]:
        """What the judge said to each of the `questions`."""
        return tuple(
            Order(
                shifted(self.presented, shift),
                verdict,
                self.black(verdict, shift) if isinstance(verdict, Ranked) else None,
            )
            for shift, verdict in enumerate(verdicts)
        )

    def black(self, verdict: Ranked, shift: int = 0) -> Ranking:
        """The verdict as groups of sample indices, whatever the order of presentation was.

        Raises:
            ValueError: the judge broke its contract and ranked other things than were presented.
        """
        if not is_ranking_of(verdict.ranking, range(len(self.presented))):
            raise ValueError(f"{verdict.ranking} does not rank {len(self.presented)} responses")
        return relabel(verdict.ranking, shifted(self.presented, shift))

    def record(self, verdict: Verdict | None, outcome: Outcome) -> Iterated:
        """What is stored of an iteration that taught nothing."""
        return Iterated(
            at=self.at,
            round=self.round,
            prompt=self.lane.prompt,
            samples=self.samples,
            merged=self.merged,
            candidates=self.candidates,
            white=self.white,
            question=self.question,
            presented=self.presented,
            verdict=verdict,
            black=None,
            agreement=(),
            demonstration=None,
            training=None,
            learned=None,
            outcome=outcome,
        )


def place(lane: Lane) -> At:
    """Where in the run a lane is about to turn."""
    return At(STAGE, lane.prompt.step, lane.iteration)


def distinct(samples: Sequence[Sample]) -> tuple[int, ...]:
    """Indices of the samples that may be judged: neither empty nor equal to an earlier one."""
    return kept(len(samples), merge([sample.text for sample in samples]))


def make_turn(
    lane: Lane,
    round_: int,
    samples: tuple[Sample, ...],
    shuffle: Callable[[int], Sequence[int]],
    demonstrations: tuple[Demonstration, ...],
    *,
    wants_response: bool,
) -> Turn:
    """Put the candidates of a lane before the judge; the beliefs may follow later.

    Args:
        lane: the lane that turns.
        round_: the round that learns from it.
        samples: all that was sampled.
        shuffle: gives a permutation of so many positions: the presentation.
        demonstrations: what the judge is shown, static ones first.
        wants_response: whether the judge should also write a better answer.
    """
    ks = distinct(samples)
    presented = tuple(ks[position] for position in shuffle(len(ks))) if len(ks) > 1 else ()
    responses = tuple(samples[k].text for k in presented)
    question = Question(lane.prompt.messages, responses, demonstrations, wants_response)
    return Turn(
        lane=lane,
        round=round_,
        samples=samples,
        merged=merge([sample.text for sample in samples]),
        presented=presented,
        question=question if presented else None,
    )
