"""People compare answers blind: nobody is told whose they are, and their order is random."""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.errors import Conflict, NotFound
from app.core.models import EVALUATION, Job, Response, Vote
from app.services import jobs
from app.services.runs import prompts_at
from app.services.sampling import draw

Choice = Literal["first", "second", "tie"]


@dataclass(frozen=True)
class Ballot:
    """Two answers to one prompt, without their authors."""

    step: int
    pair: int
    prompt: list[Any]
    first: str
    second: str
    left: int
    """How many are left for this rater, this one among them."""


def evaluation_of(session: Session, workspace: str, job_id: str) -> Job:
    """Return the evaluation; raises `NotFound` for any other job."""
    job = jobs.get(session, workspace, job_id)
    if job.kind != EVALUATION:
        raise NotFound("There is no such evaluation.")
    return job


def next_ballot(session: Session, job: Job, rater: str) -> Ballot:
    """Return the next pair that this rater has not voted on, in an order of the rater's own.

    Raises:
        NotFound: `no_ballot`, there is none left or nothing to compare.
    """
    voted = select(Vote.step, Vote.pair).where(Vote.job_id == job.id, Vote.rater == rater)
    seen = {(row.step, row.pair) for row in session.execute(voted)}
    answers = _answers(session, job)
    pairs = list(enumerate(job.resolved["pairs"]))
    open_ = [
        (step, pair)
        for step in sorted({step for step, _ in answers})
        for pair, (left, right) in pairs
        if (step, left) in answers and (step, right) in answers and (step, pair) not in seen
    ]
    if not open_:
        raise NotFound("There is no pair left to vote on.", code="no_ballot")
    step, pair = min(open_, key=lambda place: _lot(job, rater, *place))
    texts = [answers[step, who] for who in job.resolved["pairs"][pair]]
    first, second = texts[::-1] if is_swapped(job, rater, step, pair) else texts
    messages = prompts_at(session, job, [("prompts", step)])["prompts", step]
    return Ballot(step, pair, messages, first, second, len(open_))


def vote(
    session: Session, job: Job, rater: str, step: int, pair: int, choice: Choice
) -> tuple[Vote, bool]:
    """Store a vote; tell whether it is new.

    Raises:
        NotFound: `no_ballot`, there is no such pair of answers.
        Conflict: `vote_differs`, this rater said something else before.
    """
    pairs = job.resolved["pairs"]
    answers = _answers(session, job)
    if not 0 <= pair < len(pairs) or any((step, who) not in answers for who in pairs[pair]):
        raise NotFound("There is no such pair of answers.", code="no_ballot")
    swapped = is_swapped(job, rater, step, pair)
    verdict = _verdict(choice, swapped=swapped)
    known = session.get(Vote, (job.id, step, pair, rater))
    if known is None:
        known = Vote(
            workspace_id=job.workspace_id,
            job_id=job.id,
            step=step,
            pair=pair,
            rater=rater,
            swapped=swapped,
            verdict=verdict,
        )
        session.add(known)
        session.flush()
        return known, True
    if known.verdict != verdict:
        message = "This rater has voted otherwise on this pair; votes do not change."
        raise Conflict(message, code="vote_differs")
    return known, False


def is_swapped(job: Job, rater: str, step: int, pair: int) -> bool:
    """Whether this rater sees the right answer first: a coin that always falls alike."""
    return int(_lot(job, rater, step, pair)[-1], 16) % 2 == 1


def _lot(job: Job, rater: str, step: int, pair: int) -> str:
    return draw(job.seed, f"{job.id}:{rater}:{step}:{pair}")


def _verdict(choice: Choice, *, swapped: bool) -> str:
    if choice == "tie":
        return "tie"
    return "right" if (choice == "second") is not swapped else "left"


def _answers(session: Session, job: Job) -> dict[tuple[int, int], str]:
    """The first answer of each contestant to each prompt."""
    query = select(Response).where(
        Response.job_id == job.id, Response.stage == "answer", Response.k == 0
    )
    return {(row.step, row.iteration): row.text for row in session.scalars(query)}
