"""What an evaluation found: scores, comparisons, and what the answers look like."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.core.models import ComparisonRow, DatasetRow, Job, JobPrompt, Response, ScoreRow, run_rows
from app.services.measures.estimates import Estimate, mean, share
from app.services.measures.texts import distinct, refuses
from app.services.measures.wins import Pair, Wins, wins
from app.services.prompts import DIGEST
from app.services.reports.consistency import Consistency, consistency_report
from app.services.reports.given import GivenReport, given_report
from app.services.reports.judge_quality import JudgeQuality, judge_quality
from app.services.reports.people import People, people_report
from app.services.start_rules import trained_by

Place = tuple[int, int]
"""A prompt's step and a contestant's place."""


@dataclass(frozen=True)
class ScoreTable:
    """A scorer's means of one contestant, times 100 as the papers print them."""

    scorer: str
    total: Estimate
    """Over all items, so that larger subsets weigh more."""
    subsets: dict[str, Estimate]
    missing: int
    """Answers without a score."""


@dataclass(frozen=True)
class ContestantReport:
    """What one contestant's answers look like."""

    label: str
    answers: int
    missing: int
    scores: list[ScoreTable]
    mean_characters: Estimate
    mean_tokens: Estimate
    ended: Estimate
    """Share of answers that the contestant ended by itself."""
    refused: Estimate
    distinct_1: float | None
    distinct_2: float | None
    given: GivenReport | None
    trained_on: int
    """Prompts and given rows of this evaluation that its weights were trained on."""


@dataclass(frozen=True)
class Duel:
    """Two contestants compared; the record is the left one's."""

    left: str
    right: str
    winner: str | None
    record: Wins
    rating_left: Estimate | None
    """Mean score from 1 to 10, where the judge was asked to rate."""
    rating_right: Estimate | None
    people: People | None


@dataclass(frozen=True)
class EvaluationReport:
    """The whole report; `complete` is false while something is still to come."""

    complete: bool
    prompts: int
    contestants: list[ContestantReport]
    comparisons: list[Duel]
    judge: list[JudgeQuality]
    """Of the judged job, one a scorer."""
    consistency: Consistency | None
    """Of the judged job's judge, where it was asked again."""


@dataclass(frozen=True)
class _Rows:
    """The rows of an evaluation, by where they belong."""

    subsets: dict[int, str | None]
    answers: dict[Place, list[Response]]
    scores: dict[tuple[str, Place], list[float]]
    looks: dict[tuple[int, int], dict[int, dict[bool, ComparisonRow]]]
    """By left and right, then by prompt, then by whether the order was swapped."""


def evaluation_report(session: Session, job: Job) -> EvaluationReport:
    """Reckon the report from the rows that are there."""
    rows = _read(session, job)
    spec = job.resolved
    labels = [one["label"] for one in spec["contestants"]]
    scorers = [one["name"] or one["checkpoint"] for one in spec["scorers"]]
    contestants = [
        _contestant(session, rows, place, label, scorers, job) for place, label in enumerate(labels)
    ]
    duels = [
        _duel(session, rows, number, (left, right), job)
        for number, (left, right) in enumerate(spec["pairs"])
    ]
    return EvaluationReport(
        complete=job.state == "succeeded",
        prompts=len(rows.subsets),
        contestants=contestants,
        comparisons=duels,
        judge=[judge_quality(session, job, spec["judged"], name) for name in scorers]
        if spec["judged"]
        else [],
        consistency=consistency_report(session, job, spec["judged"])
        if spec["consistency"]
        else None,
    )


def _read(session: Session, job: Job) -> _Rows:
    prompts = run_rows(job.id, ["prompts"], JobPrompt.step, DatasetRow.subset)
    subsets = {row.step: row.subset for row in session.execute(prompts)}
    answers: dict[Place, list[Response]] = defaultdict(list)
    for row in session.scalars(_of(Response, job).order_by(Response.k)):
        answers[row.step, row.iteration].append(row)
    scores: dict[tuple[str, Place], list[float]] = defaultdict(list)
    of_answers = _of(ScoreRow, job).where(ScoreRow.stage == "answer")
    for one in session.scalars(of_answers.order_by(ScoreRow.k)):
        if one.value is not None:
            scores[one.scorer, (one.step, one.iteration)].append(one.value)
    looks: dict[tuple[int, int], dict[int, dict[bool, ComparisonRow]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for look in session.scalars(_of(ComparisonRow, job)):
        looks[look.left, look.right][look.step][look.swapped] = look
    return _Rows(subsets, answers, scores, looks)


def _of(table: Any, job: Job) -> Any:
    return select(table).where(table.job_id == job.id)


def _contestant(
    session: Session, rows: _Rows, place: int, label: str, scorers: Sequence[str], job: Job
) -> ContestantReport:
    said = [answer for step in rows.subsets for answer in rows.answers.get((step, place), [])]
    texts = [answer.text for answer in said]
    expected = len(rows.subsets) * job.resolved["samples_per_prompt"]
    return ContestantReport(
        label=label,
        answers=len(said),
        missing=expected - len(said),
        scores=[_scores(rows, place, scorer, len(said), job.seed) for scorer in scorers],
        mean_characters=mean([len(text) for text in texts], job.seed),
        mean_tokens=mean([len(answer.token_ids) for answer in said], job.seed),
        ended=share(sum(answer.finish == "stop" for answer in said), len(said)),
        refused=share(sum(map(refuses, texts)), len(texts)),
        distinct_1=distinct(texts, 1),
        distinct_2=distinct(texts, 2),
        given=given_report(session, job, place) if job.resolved["given"] else None,
        trained_on=_trained_on(session, job, place),
    )


def _trained_on(session: Session, job: Job, place: int) -> int:
    """How many of its prompts also stand in the training rows of the contestant's jobs."""
    trained = job.resolved["contestants"][place].get("job_id")
    if trained is None:
        return 0
    digest = DIGEST.label("digest")
    runs = trained_by(session.get_one(Job, trained))
    seen = [run_rows(one, ["align"], digest).order_by(None) for one in runs]
    asked = run_rows(job.id, ["prompts", "given"], digest).order_by(None).subquery()
    trains = or_(*(asked.c.digest.in_(digests) for digests in seen))
    query = select(func.count()).select_from(asked).where(trains)
    return session.scalar(query) or 0


def _scores(rows: _Rows, place: int, scorer: str, answers: int, seed: int) -> ScoreTable:
    """Items are prompts: the samples of one prompt are not independent of one another."""
    by_subset: dict[str, list[float]] = defaultdict(list)
    items: list[float] = []
    found = 0
    for step, subset in rows.subsets.items():
        values = rows.scores.get((scorer, (step, place)), [])
        found += len(values)
        if values:
            items.append(100 * sum(values) / len(values))
            by_subset[subset or ""].append(items[-1])
    subsets = {name: mean(values, seed) for name, values in sorted(by_subset.items()) if name}
    return ScoreTable(scorer, mean(items, seed), subsets, answers - found)


def _duel(session: Session, rows: _Rows, number: int, who: tuple[int, int], job: Job) -> Duel:
    left, right = (job.resolved["contestants"][place]["label"] for place in who)
    looked = {step: both for step, both in sorted(rows.looks.get(who, {}).items()) if len(both) > 1}
    pairs = {step: _pair(rows, step, both, *who) for step, both in looked.items()}
    record = wins(list(pairs.values()), len(rows.subsets), job.seed)
    ratings = [
        row.scores for both in looked.values() for row in both.values() if row.scores is not None
    ]
    return Duel(
        left,
        right,
        {"left": left, "right": right, None: None}[record.winner],
        record,
        mean([score for score, _ in ratings], job.seed) if ratings else None,
        mean([score for _, score in ratings], job.seed) if ratings else None,
        people_report(session, job, number, pairs, len(rows.subsets)),
    )


def _pair(rows: _Rows, step: int, both: dict[bool, ComparisonRow], left: int, right: int) -> Pair:
    lengths = [len(rows.answers[step, who][0].text) for who in (left, right)]
    plain, swapped = both[False].verdict, both[True].verdict
    return Pair(plain, swapped, lengths[0] - lengths[1])  # type: ignore[arg-type]  # as they are stored
