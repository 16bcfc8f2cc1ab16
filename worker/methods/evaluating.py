"""Contestants answer the same prompts; scorers score each answer, a judge compares them in pairs.

Nothing here changes a weight, so every row is a function of its place: a run that goes on after a
stop answers, scores and compares only what is not yet stored. Each pair is shown in both orders.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from worker.cycle.contest import ANSWER, GIVEN, JUDGED, JudgedTurn, Stored
from worker.cycle.events import Answered, Compared, Event, Phase, Rated, Valued
from worker.cycle.ports import Judge, Pending, SampleRequest
from worker.cycle.seeds import sampling_seed
from worker.cycle.types import At, Dialogue, Example, Prompt, Question, Ranked, Sample


class Speaking(Protocol):
    """Something that answers, and that values given responses."""

    def sample(self, requests: Sequence[SampleRequest]) -> Iterator[tuple[int, list[Sample]]]:
        """One answer a seed, as of `Policy`."""
        ...

    def value(self, messages: Dialogue, responses: Sequence[str]) -> list[float]:
        """Token-mean log-probability of each response, or its reward."""
        ...


@dataclass(frozen=True)
class Contestant:
    """One of those that are compared; it is opened only if it has something left to answer."""

    label: str
    open: Callable[[], AbstractContextManager[Speaking]]
    prepare: Callable[[Dialogue], Dialogue]
    """Puts the prompt into the contestant's strategy."""
    finish: Callable[[str], str]
    """Takes the answer out of what it wrote."""


@dataclass(frozen=True)
class Pairing:
    """Who is compared with whom, by their places, and by which judge."""

    judge: Judge
    pairs: tuple[tuple[int, int], ...]
    form: Literal["compare", "rate"] = "compare"


@dataclass(frozen=True)
class EvaluationConfig:
    """The knobs."""

    seed: int
    samples: int = 1
    """Answers of every contestant to every prompt; the first ones are compared."""
    batch: int = 16
    """Prompts answered at once."""


def evaluate(
    prompts: Sequence[Prompt],
    given: Sequence[Example],
    judged: Sequence[JudgedTurn],
    contestants: Sequence[Contestant],
    scorers: Mapping[str, Judge],
    pairing: Pairing | None,
    config: EvaluationConfig,
    stored: Stored,
) -> Iterator[Event]:
    """Evaluate, one event at a time."""
    answers = dict(stored.answers)
    for place, contestant in enumerate(contestants):
        left = [p for p in prompts if At(ANSWER, p.step, place) not in answers]
        unread = [e for e in given if (At(GIVEN, e.prompt.step, place), "self") not in stored.rated]
        if not left and not unread:
            continue
        yield Phase("answering")
        with contestant.open() as speaking:
            yield from _value(unread, place, contestant, speaking)
            for event in _answer(left, place, contestant, speaking, config):
                answers[event.at] = tuple(sample.text for sample in event.samples)
                yield event
    for name, judge in scorers.items():
        yield Phase("scoring")
        unrated = {at: texts for at, texts in answers.items() if (at, name) not in stored.rated}
        yield from _score(prompts, name, judge, unrated)
        yield from _second_opinion(judged, name, judge, stored)
    if pairing is not None:
        yield Phase("comparing")
        yield from _compare(prompts, pairing, answers, stored.compared)


def _value(
    unread: Sequence[Example], place: int, contestant: Contestant, speaking: Speaking
) -> Iterator[Valued]:
    for example in unread:
        messages = contestant.prepare(example.prompt.messages)
        values = speaking.value(messages, example.responses)
        yield Valued(At(GIVEN, example.prompt.step, place), tuple(values))


def _answer(
    left: Sequence[Prompt],
    place: int,
    contestant: Contestant,
    speaking: Speaking,
    config: EvaluationConfig,
) -> Iterator[Answered]:
    for start in range(0, len(left), config.batch):
        some = left[start : start + config.batch]
        requests = [_request(prompt, place, contestant, config) for prompt in some]
        for index, samples in speaking.sample(requests):
            at = At(ANSWER, some[index].step, place)
            texts = tuple(contestant.finish(sample.text) for sample in samples)
            yield Answered(at, some[index], tuple(map(_said, samples, texts)))


def _said(sample: Sample, text: str) -> Sample:
    return replace(sample, text=text)


def _request(
    prompt: Prompt, place: int, contestant: Contestant, config: EvaluationConfig
) -> SampleRequest:
    """Each contestant has luck of its own: one that stands twice is an honest null comparison."""
    at = At(ANSWER, prompt.step, place)
    seeds = tuple(sampling_seed(config.seed, at, k) for k in range(config.samples))
    return SampleRequest(Prompt(prompt.step, contestant.prepare(prompt.messages)), seeds)


def _score(
    prompts: Sequence[Prompt], name: str, judge: Judge, left: Mapping[At, tuple[str, ...]]
) -> Iterator[Rated]:
    by_step = {prompt.step: prompt for prompt in prompts}
    asked: list[tuple[At, Pending]] = []
    for at, texts in left.items():
        place = At(f"score:{name}", at.step, at.iteration)
        question = Question(by_step[at.step].messages, texts)
        asked.append((at, judge.submit(place, question)))
    for at, pending in asked:
        verdict = pending.result()
        scores = verdict.scores if isinstance(verdict, Ranked) else None
        yield Rated(at, name, verdict, scores or ())


def _second_opinion(
    judged: Sequence[JudgedTurn], name: str, judge: Judge, stored: Stored
) -> Iterator[Rated]:
    for turn in judged:
        at = At(JUDGED, turn.step, turn.iteration)
        if (at, name) in stored.rated:
            continue
        place = At(f"{JUDGED}:{name}", turn.step, turn.iteration)
        verdict = judge.submit(place, Question(turn.messages, turn.responses)).result()
        scores = verdict.scores if isinstance(verdict, Ranked) else None
        yield Rated(at, name, verdict, scores or ())


def _compare(
    prompts: Sequence[Prompt],
    pairing: Pairing,
    answers: Mapping[At, tuple[str, ...]],
    compared: frozenset[At],
) -> Iterator[Compared]:
    asked: list[tuple[Compared, Pending]] = []
    for prompt in prompts:
        for number, (left, right) in enumerate(pairing.pairs):
            if any(At(ANSWER, prompt.step, who) not in answers for who in (left, right)):
                continue  # an endpoint may leave a prompt unanswered
            texts = [answers[At(ANSWER, prompt.step, who)][0] for who in (left, right)]
            for order in (0, 1):
                at = At("compare", prompt.step, 2 * number + order)
                if at in compared:
                    continue
                shown = tuple(texts[::-1] if order else texts)
                question = Question(prompt.messages, shown, form=pairing.form)
                blank = Compared(at, left, right, swapped=bool(order), verdict=None)
                asked.append((blank, pairing.judge.submit(at, question)))
    for blank, pending in asked:
        yield Compared(
            blank.at, blank.left, blank.right, swapped=blank.swapped, verdict=pending.result()
        )
