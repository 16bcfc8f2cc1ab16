"""The training ranking: the black box's order, below the teacher response if there is one.

The paper does not say where the judge's extra answer goes; it calls it a better response, so here
it stands first and is what the SFT term imitates. It is never part of the agreement.
"""

from collections.abc import Mapping

from worker.cycle.candidates import normal
from worker.cycle.ranking import flatten, orders_a_pair
from worker.cycle.types import (
    Candidate,
    Example,
    Prompt,
    Ranking,
    Sample,
    TrainingRanking,
)


def training_ranking(
    prompt: Prompt,
    samples: Mapping[int, Sample],
    candidates: Mapping[int, Candidate],
    black: Ranking,
    teacher: str | None = None,
) -> TrainingRanking | None:
    """Build what one update learns from; None if it would order no pair.

    A teacher response that equals a candidate is that candidate, moved to the first place. Without
    one the SFT term imitates the top group's candidate of the highest belief.

    Args:
        prompt: the prompt that all of them answer.
        samples: the samples by index.
        candidates: those of them that were ranked, by index.
        black: groups of their indices, best to worst.
        teacher: the judge's own answer; a blank one counts as none.
    """
    text = (teacher or "").strip()
    twin = next((k for k in flatten(black) if normal(samples[k].text) == normal(text)), None)
    if twin is not None:
        black = ((twin,), *_without(black, twin))
    if not text or twin is not None:
        return _of_samples(prompt, samples, candidates, black)
    return _under_teacher(prompt, samples, black, text)


def in_order(example: Example) -> TrainingRanking:
    """Build what one update learns from a row of given responses.

    The SFT term imitates the first of the top group, as RRHF's released code does.
    """
    order = flatten(example.ranking)
    return TrainingRanking(
        prompt=example.prompt,
        texts=tuple(example.responses[k] for k in order),
        tokens=(None,) * len(order),
        groups=_by_place(example.ranking),
        target=0,
        scores=example.scores and tuple(example.scores[k] for k in order),
    )


def _without(ranking: Ranking, left_out: int) -> Ranking:
    groups = (tuple(item for item in group if item != left_out) for group in ranking)
    return tuple(group for group in groups if group)


def _of_samples(
    prompt: Prompt,
    samples: Mapping[int, Sample],
    candidates: Mapping[int, Candidate],
    black: Ranking,
) -> TrainingRanking | None:
    if not orders_a_pair(black):
        return None
    order = flatten(black)
    top = max(black[0], key=lambda k: candidates[k].belief)
    return TrainingRanking(
        prompt=prompt,
        texts=tuple(samples[k].text for k in order),
        tokens=tuple(samples[k].tokens for k in order),
        groups=_by_place(black),
        target=order.index(top),
    )


def _under_teacher(
    prompt: Prompt, samples: Mapping[int, Sample], black: Ranking, teacher: str
) -> TrainingRanking:
    order = flatten(black)
    below = _by_place(black)
    return TrainingRanking(
        prompt=prompt,
        texts=(teacher, *(samples[k].text for k in order)),
        tokens=(None, *(samples[k].tokens for k in order)),
        groups=((0,), *(tuple(place + 1 for place in group) for group in below)),
        target=0,
    )


def _by_place(ranking: Ranking) -> Ranking:
    """Rename each id to its place in the flat order."""
    place = {item: index for index, item in enumerate(flatten(ranking))}
    return tuple(tuple(place[item] for item in group) for group in ranking)
