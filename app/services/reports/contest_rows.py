"""What an experiment's contestants answered, by contestant, seed and prompt."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.models import ComparisonRow, DatasetRow, Job, JobPrompt, Response, ScoreRow, run_rows
from app.services.measures.wins import Pair
from app.services.reports.given import given_hits

Place = tuple[int, int]
"""The place of a contest among all, and a prompt's step."""


@dataclass
class Contestant:
    """One label in all contests where it takes part; values by contest and prompt."""

    answers: dict[Place, list[Response]] = field(default_factory=lambda: defaultdict(list))
    scores: dict[str, dict[Place, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    pairs: dict[Place, Pair] = field(default_factory=dict)
    """Against the first contestant; `left` is this one."""
    given: dict[Place, float] = field(default_factory=dict)
    """By given row instead of prompt: whether it values the best response most."""


@dataclass(frozen=True)
class Contests:
    """All of it; `seeds` are those of the contests, in their order."""

    seeds: Sequence[int]
    expected: Mapping[str, set[int]]
    """By label, the contests in which it takes part."""
    steps: Sequence[int]
    subsets: Mapping[int, str | None]
    scorers: Sequence[str]
    compares: bool
    contestants: Mapping[str, Contestant]

    @property
    def given_steps(self) -> list[int]:
        """The given rows that anybody has valued."""
        valued = {step for one in self.contestants.values() for _, step in one.given}
        return sorted(valued)

    @property
    def prompts(self) -> int:
        """How many prompts every contestant answers for each seed."""
        return len(self.steps)


def read_contests(session: Session, jobs: Sequence[Job]) -> Contests:
    """Read what the evaluations have stored so far."""
    contestants: dict[str, Contestant] = defaultdict(Contestant)
    expected: dict[str, set[int]] = defaultdict(set)
    subsets: dict[int, str | None] = {}
    for number, job in enumerate(jobs):
        for label in _labels(job):
            expected[label].add(number)
        prompts = run_rows(job.id, ["prompts"], JobPrompt.step, DatasetRow.subset)
        subsets |= {row.step: row.subset for row in session.execute(prompts)}
        _read_answers(session, job, number, contestants)
        _read_scores(session, job, number, contestants)
        _read_pairs(session, job, number, contestants)
        _read_given(session, job, number, contestants)
    first = jobs[0].resolved if jobs else {}
    return Contests(
        seeds=[job.seed for job in jobs],
        expected=expected,
        steps=sorted(subsets),
        subsets=subsets,
        scorers=[one["name"] or one["checkpoint"] for one in first.get("scorers", [])],
        compares=bool(first.get("pairs")),
        contestants=contestants,
    )


def _labels(job: Job) -> list[str]:
    return [one["label"] for one in job.resolved["contestants"]]


def _of(table: Any, job: Job) -> Any:
    return select(table).where(table.job_id == job.id)


def _read_answers(
    session: Session, job: Job, number: int, contestants: dict[str, Contestant]
) -> None:
    labels = _labels(job)
    for row in session.scalars(_of(Response, job).order_by(Response.k)):
        contestants[labels[row.iteration]].answers[number, row.step].append(row)


def _read_scores(
    session: Session, job: Job, number: int, contestants: dict[str, Contestant]
) -> None:
    labels = _labels(job)
    for row in session.scalars(_of(ScoreRow, job).where(ScoreRow.stage == "answer")):
        if row.value is not None:
            scores = contestants[labels[row.iteration]].scores[row.scorer]
            scores[number, row.step].append(100 * row.value)


def _read_pairs(
    session: Session, job: Job, number: int, contestants: dict[str, Contestant]
) -> None:
    labels = _labels(job)
    looks: dict[tuple[int, int], dict[bool, ComparisonRow]] = defaultdict(dict)
    for row in session.scalars(_of(ComparisonRow, job)):
        looks[row.right, row.step][row.swapped] = row
    for (place, step), both in looks.items():
        if len(both) > 1:
            mine, start = contestants[labels[place]], contestants[labels[0]]
            longer = len(mine.answers[number, step][0].text) - len(
                start.answers[number, step][0].text
            )
            plain, swapped = (_turned(both[order].verdict) for order in (False, True))
            mine.pairs[number, step] = Pair(plain, swapped, longer)  # type: ignore[arg-type]  # as they are stored


def _read_given(
    session: Session, job: Job, number: int, contestants: dict[str, Contestant]
) -> None:
    if job.resolved["given"] is None:
        return
    for place, label in enumerate(_labels(job)):
        hits = given_hits(session, job, place)
        contestants[label].given |= {(number, step): hit for step, hit in hits.items()}


def _turned(verdict: str) -> str:
    """The start model stands left in a contest, and right in the report."""
    return {"left": "right", "right": "left"}.get(verdict, verdict)
