"""What people say of two contestants, in the same table as the judge, and how they agree."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.models import Job, Vote
from app.services.measures.agreement import alpha
from app.services.measures.wins import Pair, Verdict, Wins, wins


@dataclass(frozen=True)
class People:
    """The record of the left contestant by the majority of people, a tie where there is none."""

    votes: int
    raters: int
    record: Wins
    alpha: float | None
    """Agreement among people."""
    alpha_with_judge: float | None
    """Agreement between their majority and the judge."""


def people_report(
    session: Session, job: Job, pair: int, judged: Mapping[int, Pair], prompts: int
) -> People | None:
    """Reckon it for one pair of contestants; None if nobody has voted.

    `judged` is what the judge said, by step, and `prompts` how many there are.
    """
    query = select(Vote).where(Vote.job_id == job.id, Vote.pair == pair).order_by(Vote.step)
    votes: dict[int, list[str]] = defaultdict(list)
    raters = set()
    for row in session.scalars(query):
        votes[row.step].append(row.verdict)
        raters.add(row.rater)
    if not votes:
        return None
    majorities = {step: _majority(said) for step, said in votes.items()}
    pairs = [
        Pair(verdict, verdict, judged[step].longer if step in judged else 0)
        for step, verdict in majorities.items()
    ]
    beside = [
        (verdict, judged[step].verdict)
        for step, verdict in majorities.items()
        if step in judged and judged[step].verdict != "invalid"
    ]
    return People(
        votes=sum(map(len, votes.values())),
        raters=len(raters),
        record=wins(pairs, prompts, job.seed),
        alpha=alpha(list(votes.values())),
        alpha_with_judge=alpha(beside),
    )


def _majority(said: Sequence[str]) -> Verdict:
    counts = Counter(said).most_common()
    if len(counts) > 1 and counts[0][1] == counts[1][1]:
        return "tie"
    return counts[0][0]  # type: ignore[return-value]  # as votes are stored
