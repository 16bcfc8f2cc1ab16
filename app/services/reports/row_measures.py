"""The measures of one row of an experiment, beside the start model under the same seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from app.services.measures.crossed import Table, crossed_mean, gain_at_equal_length
from app.services.measures.estimates import Estimate, mean, share
from app.services.measures.texts import distinct, refuses
from app.services.measures.wins import WORTH, Pair, length_controlled
from app.services.reports.contest_rows import Contestant, Contests, Place

Decided = Literal["better", "worse"]


@dataclass(frozen=True)
class RowScores:
    """A scorer's means of a row, times 100 as the papers print them."""

    scorer: str
    total: Estimate
    """Over all prompts, so that larger subsets weigh more."""
    subsets: dict[str, Estimate]
    by_seed: list[float | None]
    missing: int
    """Prompts, over all seeds, without a score."""
    gain: Estimate | None
    """Less the start model's, prompt by prompt; None of the start model itself."""
    gain_at_equal_length: Estimate | None
    decided: Decided | None
    """Whether both gains' intervals exclude zero, on the same side, and nothing is missing."""


@dataclass(frozen=True)
class RowVerdicts:
    """A judge's verdicts against the start model, over all seeds."""

    win: int
    tie: int
    lose: int
    invalid: int
    missing: int
    gain: Estimate
    """Win rate less loss rate."""
    rate_at_equal_length: Estimate
    decided: Decided | None


@dataclass(frozen=True)
class RowTexts:
    """What the answers look like."""

    answers: int
    mean_tokens: Estimate
    ended: Estimate
    refused: Estimate
    distinct_2: float | None


@dataclass(frozen=True)
class RowGiven:
    """What a row makes of given rows."""

    accuracy: Estimate
    """Share whose best response it values most."""
    change: Estimate | None
    """Less the start model's on the same rows: the alignment tax."""


@dataclass(frozen=True)
class Measures:
    """All measures of one row."""

    scores: list[RowScores]
    verdicts: RowVerdicts | None
    given: RowGiven | None
    texts: RowTexts | None


def measure(contests: Contests, label: str, start: str | None) -> Measures:
    """Measure one row; `start` names the row that it is compared with."""
    one = contests.contestants.get(label, Contestant())
    other = None if start is None else contests.contestants.get(start, Contestant())
    return Measures(
        scores=[_scores(contests, label, one, other, scorer) for scorer in contests.scorers],
        verdicts=_verdicts(contests, label, one) if other and contests.compares else None,
        given=_given(contests, label, one, other) if one.given else None,
        texts=_texts(one) if one.answers else None,
    )


def _scores(
    contests: Contests, label: str, one: Contestant, other: Contestant | None, scorer: str
) -> RowScores:
    table = _table(contests, label, lambda place: _mean(one.scores[scorer].get(place)))
    missing = int(np.isnan(table).sum())
    raw = equal = None
    if other is not None:
        begun = _table(contests, label, lambda place: _mean(other.scores[scorer].get(place)))
        longer = _table(contests, label, lambda at: _tokens(one, at) - _tokens(other, at))
        raw = crossed_mean(table - begun)
        equal = gain_at_equal_length(table - begun, longer)
    return RowScores(
        scorer=scorer,
        total=crossed_mean(table),
        subsets=_subsets(contests, table),
        by_seed=_by_run(table),
        missing=missing,
        gain=raw,
        gain_at_equal_length=equal,
        decided=_decided(missing, raw, equal),
    )


def _table(
    contests: Contests,
    label: str,
    value: Callable[[Place], float],
    steps: Sequence[int] | None = None,
) -> Table:
    """Contests down, prompts across, or other steps."""
    numbers = sorted(contests.expected.get(label, ()))
    across = contests.steps if steps is None else steps
    cells = [[value((number, step)) for step in across] for number in numbers]
    return np.array(cells, dtype=float).reshape(len(numbers), len(across))


def _given(contests: Contests, label: str, one: Contestant, other: Contestant | None) -> RowGiven:
    def table(whose: Contestant) -> Table:
        nothing = float("nan")
        steps = contests.given_steps
        return _table(contests, label, lambda place: whose.given.get(place, nothing), steps)

    change = None if other is None else crossed_mean(table(one) - table(other))
    return RowGiven(crossed_mean(table(one)), change)


def _mean(values: Sequence[float] | None) -> float:
    return sum(values) / len(values) if values else float("nan")


def _by_run(table: Table) -> list[float | None]:
    present = [row[~np.isnan(row)] for row in table]
    return [float(row.mean()) if len(row) else None for row in present]


def _tokens(one: Contestant, place: Place) -> float:
    return _mean([len(answer.token_ids) for answer in one.answers.get(place, [])])


def _subsets(contests: Contests, table: Table) -> dict[str, Estimate]:
    names = [contests.subsets[step] or "" for step in contests.steps]
    return {
        name: crossed_mean(table[:, [place for place, one in enumerate(names) if one == name]])
        for name in sorted(set(names))
        if name
    }


def _decided(missing: int, *gains: Estimate | None) -> Decided | None:
    known = [gain for gain in gains if gain is not None and gain.value is not None]
    if missing or len(known) < len(gains):
        return None
    if all(gain.above(0) for gain in known):
        return "better"
    return "worse" if all(gain.high is not None and gain.high < 0 for gain in known) else None


def _verdicts(contests: Contests, label: str, one: Contestant) -> RowVerdicts:
    pairs = list(one.pairs.values())
    said = [pair.verdict for pair in pairs]
    missing = len(contests.expected.get(label, ())) * contests.prompts - len(pairs)
    gain = crossed_mean(_table(contests, label, lambda place: _worth(one.pairs.get(place))))
    return RowVerdicts(
        win=said.count("left"),
        tie=said.count("tie"),
        lose=said.count("right"),
        invalid=said.count("invalid"),
        missing=missing,
        gain=gain,
        rate_at_equal_length=length_controlled([p for p in pairs if p.verdict != "invalid"]),
        decided=_decided(missing, gain),
    )


def _worth(pair: Pair | None) -> float:
    return float("nan") if pair is None else WORTH.get(pair.verdict, float("nan"))


def _texts(one: Contestant) -> RowTexts:
    said = [answer for answers in one.answers.values() for answer in answers]
    texts = [answer.text for answer in said]
    return RowTexts(
        answers=len(said),
        mean_tokens=mean([len(answer.token_ids) for answer in said]),
        ended=share(sum(answer.finish == "stop" for answer in said), len(said)),
        refused=share(sum(map(refuses, texts)), len(texts)),
        distinct_2=distinct(texts, 2),
    )
