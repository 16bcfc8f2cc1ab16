"""How well a run's judge ranked, by another scorer: the paper's Figures 3 to 5 and Tables 3 and 4.

"Accuracy" is not defined there, so three are given: the same order exactly, pairs ordered alike,
and the same best response. They stand by inner iteration, and over the run in parts of equal size.
Chance is that of independent random rankings.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import factorial
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.models import AgreementRow, DemonstrationRow, Job, RankingRow, ScoreRow
from app.services.chance import chance_length
from app.services.measures.estimates import Estimate, mean
from app.services.measures.rankings import Match, match

T = TypeVar("T")
PARTS = 10
"""Of a run over its steps."""

Place = tuple[int, int]
"""Step and iteration."""


@dataclass(frozen=True)
class Accuracy:
    """The judge beside a scorer, over some of its rankings."""

    label: str
    rankings: int
    exact: Estimate
    pairwise: Estimate
    top: Estimate
    exact_by_chance: float
    reward: Estimate
    """The scorer's mean score of the responses, times 100."""


@dataclass(frozen=True)
class AgreementPart:
    """How both rankings of the run itself agreed, over some of its steps."""

    first_step: int
    last_step: int
    mean_iterations: float
    agreement: float
    """Mean length of the agreement as a share of the responses."""
    agreement_by_chance: float


@dataclass(frozen=True)
class JudgeQuality:
    """The report of one run's judge."""

    job_id: str
    scorer: str
    by_iteration: list[Accuracy]
    over_steps: list[Accuracy]
    delta_reward: Estimate
    """Mean score of a step's last responses less that of its first ones, times 100."""
    mean_demonstrations: float | None
    """Dynamic ones that a question showed; static ones come on top."""
    agreement: list[AgreementPart]


@dataclass(frozen=True)
class _Look:
    place: Place
    match: Match
    reward: float
    size: int


def judge_quality(session: Session, evaluation: Job, judged: str, scorer: str) -> JudgeQuality:
    """Reckon it from the run's rankings and the evaluation's scores of its responses."""
    looks = _looks(session, evaluation, judged, scorer)
    return JudgeQuality(
        job_id=judged,
        scorer=scorer,
        by_iteration=_grouped(looks, lambda look: str(look.place[1] + 1), evaluation.seed),
        over_steps=_over_steps(looks, evaluation.seed),
        delta_reward=_delta(looks, evaluation.seed),
        mean_demonstrations=_demonstrations(session, judged, looks),
        agreement=agreement_parts(session, judged),
    )


def _looks(session: Session, evaluation: Job, judged: str, scorer: str) -> list[_Look]:
    query = select(ScoreRow).where(
        ScoreRow.job_id == evaluation.id, ScoreRow.stage == "judged", ScoreRow.scorer == scorer
    )
    scores: dict[Place, dict[int, float]] = defaultdict(dict)
    for row in session.scalars(query):
        if row.value is not None:
            scores[row.step, row.iteration][row.k] = row.value
    rankings = select(RankingRow).where(
        RankingRow.job_id == judged, RankingRow.stage == "align", RankingRow.black_box.is_not(None)
    )
    found = []
    for ranked in session.scalars(rankings.order_by(RankingRow.step, RankingRow.iteration)):
        known = scores.get((ranked.step, ranked.iteration), {})
        places = sorted(item for group in ranked.black_box or [] for item in group)
        if known and len(known) == len(places):
            # scores are of the distinct responses, in their order; rankings name the samples
            named = {item: known[k] for k, item in enumerate(places)}
            reward = 100 * sum(named.values()) / len(named)
            look = match(ranked.black_box or [], named)
            found.append(_Look((ranked.step, ranked.iteration), look, reward, len(places)))
    return found


def _grouped(looks: Sequence[_Look], label: Callable[[_Look], str], seed: int) -> list[Accuracy]:
    groups: dict[str, list[_Look]] = defaultdict(list)
    for look in looks:
        groups[label(look)].append(look)
    return [_accuracy(name, some, seed) for name, some in groups.items()]


def _accuracy(label: str, looks: Sequence[_Look], seed: int) -> Accuracy:
    return Accuracy(
        label=label,
        rankings=len(looks),
        exact=mean([look.match.exact for look in looks], seed),
        pairwise=mean([look.match.pairwise for look in looks], seed),
        top=mean([look.match.top for look in looks], seed),
        exact_by_chance=sum(1 / factorial(look.size) for look in looks) / len(looks),
        reward=mean([look.reward for look in looks], seed),
    )


def _over_steps(looks: Sequence[_Look], seed: int) -> list[Accuracy]:
    """The last iteration of each step, as the paper has it, in parts of the run."""
    last = list({look.place[0]: look for look in looks}.values())
    found = []
    for some in _parts(last):
        label = f"{some[0].place[0]} to {some[-1].place[0]}"
        found.append(_accuracy(label, some, seed))
    return found


def _parts(items: Sequence[T]) -> list[Sequence[T]]:
    size = -(-len(items) // PARTS) or 1
    return [items[start : start + size] for start in range(0, len(items), size)]


def _delta(looks: Sequence[_Look], seed: int) -> Estimate:
    by_step: dict[int, list[float]] = defaultdict(list)
    for look in looks:
        by_step[look.place[0]].append(look.reward)
    return mean([found[-1] - found[0] for found in by_step.values() if len(found) > 1], seed)


def _demonstrations(session: Session, judged: str, looks: Sequence[_Look]) -> float | None:
    if not looks:
        return None
    made: Mapping[int, list[int]] = defaultdict(list)
    query = select(DemonstrationRow).where(DemonstrationRow.job_id == judged)
    for row in session.scalars(query):
        made[row.step].append(row.iteration)
    shown = [sum(iteration < look.place[1] for iteration in made[look.place[0]]) for look in looks]
    return sum(shown) / len(shown)


def agreement_parts(session: Session, run: str) -> list[AgreementPart]:
    """How both rankings of a run agreed, in parts of the run: the paper's Figure 4."""
    rows = session.scalars(
        select(AgreementRow)
        .where(AgreementRow.job_id == run)
        .order_by(AgreementRow.step, AgreementRow.iteration)
    )
    by_step: dict[int, list[AgreementRow]] = defaultdict(list)
    for row in rows:
        by_step[row.step].append(row)
    return [_part([by_step[step] for step in steps]) for steps in _parts(list(by_step))]


def _part(steps: Sequence[list[AgreementRow]]) -> AgreementPart:
    rows = [row for step in steps for row in step]
    return AgreementPart(
        first_step=steps[0][0].step,
        last_step=steps[-1][0].step,
        mean_iterations=sum(step[-1].iteration + 1 for step in steps) / len(steps),
        agreement=sum(row.length / row.candidates for row in rows) / len(rows),
        agreement_by_chance=sum(chance_length(row.candidates) / row.candidates for row in rows)
        / len(rows),
    )
