"""What a method tells its runner; storing, progress and cancelling happen between the events."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from worker.cycle.types import (
    At,
    Candidate,
    Demonstration,
    Learned,
    Order,
    Prompt,
    Question,
    Ranking,
    Sample,
    TrainingRanking,
    Verdict,
)


@dataclass(frozen=True)
class Phase:
    """The run enters a part of its recipe: `sampling`, `judging`, `learning`, `evaluating`."""

    name: str


class Outcome(StrEnum):
    """How one iteration ended."""

    UPDATED = "updated"
    AGREED = "agreed"
    """Updated as well; both rankings were the same, so the step ends."""
    TOO_FEW = "too_few_candidates"
    UNRANKED = "unranked"
    """The judge's replies could not be used, twice; the update was skipped."""
    UNANSWERED = "unanswered"
    NOTHING_ORDERED = "nothing_ordered"
    """The training ranking orders no pair, so there was nothing to learn."""


@dataclass(frozen=True)
class Iterated:
    """One iteration of one step, whole: everything that is stored of it."""

    at: At
    round: int
    prompt: Prompt
    samples: tuple[Sample, ...]
    merged: Mapping[int, int]
    """Samples left out before judging: index -> index of the equal one, or -1 if empty."""
    candidates: tuple[Candidate, ...]
    white: Ranking
    """Groups of sample indices, best to worst, by belief."""
    question: Question | None
    presented: tuple[int, ...]
    """Sample indices in the order the judge saw them; of several orders, in the first."""
    verdict: Verdict | None
    """Of several orders, what they come to."""
    black: Ranking | None
    """Groups of sample indices, best to worst, as the judge ranked them."""
    agreement: tuple[int, ...]
    demonstration: Demonstration | None
    """What this iteration adds to the step's dynamic demonstrations."""
    training: TrainingRanking | None
    learned: Learned | None
    outcome: Outcome
    orders: tuple[Order, ...] = ()
    """Every presentation order that was asked about, each with a verdict of its own."""


@dataclass(frozen=True)
class StepEnded:
    """A prompt is done: it `agreed` or is `exhausted` after its last iteration."""

    step: int
    round: int
    iterations: int
    agreed: bool


@dataclass(frozen=True)
class Scored:
    """Samples of one held-out prompt, scored by the judge; they train nothing."""

    at: At
    prompt: Prompt
    samples: tuple[Sample, ...]
    verdict: Verdict | None
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Taught:
    """One row of given responses was learnt from; `at.iteration` is the epoch."""

    at: At
    round: int
    ranking: TrainingRanking
    learned: Learned
    last: bool
    """Whether this was its last epoch."""


@dataclass(frozen=True)
class Valued:
    """What the model makes of the responses of a row that trains nothing.

    `values` are in the order of the row's responses: rewards of a reward model.
    """

    at: At
    values: tuple[float, ...]


@dataclass(frozen=True)
class Answered:
    """A contestant's answers to one prompt; `at.iteration` is its place."""

    at: At
    prompt: Prompt
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Rated:
    """What a scorer makes of a contestant's answers; without scores the verdict says why."""

    at: At
    scorer: str
    verdict: Verdict
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Compared:
    """One look at two contestants' answers; `swapped` is the order with the right one first."""

    at: At
    left: int
    right: int
    swapped: bool
    verdict: Verdict | None


@dataclass(frozen=True)
class AskedAgain:
    """A judge's new verdict on what it has ranked before; `at.stage` says how it was asked."""

    at: At
    presented: tuple[int, ...]
    """Sample indices in the order that the judge saw this time."""
    verdict: Verdict


@dataclass(frozen=True)
class RoundEnded:
    """Every lane has turned once; `state` is what a resumed run goes on from."""

    round: int
    version: int
    state: Mapping[str, object]
    done: bool
    """True after the last round."""


Event = (
    Phase
    | Iterated
    | StepEnded
    | Scored
    | Taught
    | Valued
    | Answered
    | Rated
    | Compared
    | AskedAgain
    | RoundEnded
)
