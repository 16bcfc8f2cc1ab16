"""What a verdict makes of a turn: both rankings compared, what to learn, what to show next."""

from dataclasses import replace

from worker.cycle.agreement import agreement
from worker.cycle.demos import Dynamic, demonstrate, demonstrated_order
from worker.cycle.events import Iterated, Outcome
from worker.cycle.ranking import flatten, same_order
from worker.cycle.seeds import permutation
from worker.cycle.training import training_ranking
from worker.cycle.turn import Turn
from worker.cycle.types import (
    Demonstration,
    Malformed,
    Ranked,
    Ranking,
    TrainingRanking,
    Unanswered,
    Verdict,
)


def judged(turn: Turn, verdict: Verdict | None, dynamic: Dynamic, seed: int) -> Iterated:
    """Compare the rankings; name what stands in the way of a verdict that cannot be used."""
    match verdict:
        case Ranked():
            return _compared(turn, verdict, dynamic, seed)
        case Malformed():
            return turn.record(verdict, Outcome.UNRANKED)
        case Unanswered():
            return turn.record(verdict, Outcome.UNANSWERED)
        case None:
            return turn.record(verdict, Outcome.TOO_FEW)


def _compared(turn: Turn, verdict: Ranked, dynamic: Dynamic, seed: int) -> Iterated:
    black = turn.black(verdict)
    training = _training(turn, black, verdict.teacher)
    agreed = same_order(black, turn.white)
    chain = agreement(black, turn.white)
    order = None if agreed else demonstrated_order(dynamic, black, turn.white, chain)
    return replace(
        turn.record(verdict, _outcome(training, agreed=agreed)),
        black=black,
        agreement=chain,
        demonstration=_demonstration(turn, order, dynamic, seed) if order else None,
        training=training,
    )


def _training(turn: Turn, black: Ranking, teacher: str | None) -> TrainingRanking | None:
    return training_ranking(
        turn.lane.prompt,
        dict(enumerate(turn.samples)),
        {candidate.k: candidate for candidate in turn.candidates},
        black,
        teacher if turn.wants_response else None,
    )


def _outcome(training: TrainingRanking | None, *, agreed: bool) -> Outcome:
    if training is None:
        return Outcome.NOTHING_ORDERED
    return Outcome.AGREED if agreed else Outcome.UPDATED


def _demonstration(turn: Turn, order: Ranking, dynamic: Dynamic, seed: int) -> Demonstration:
    """What this iteration adds to the step."""
    texts = {candidate.k: candidate.text for candidate in turn.candidates}
    shuffle = permutation(seed, turn.at, len(flatten(order)), "demonstrate")
    return demonstrate(turn.lane.prompt.messages, order, texts, shuffle, dynamic)
