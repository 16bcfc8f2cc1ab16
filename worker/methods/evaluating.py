"""Contestants answer the same prompts; scorers score each answer, a judge compares them in pairs.

Nothing here changes a weight, so every row is a function of its place: a run that goes on after a
stop answers, scores and compares only what is not yet stored. Each pair is shown in both orders.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol, TypeVar

from worker.cycle.choices import by_letters
from worker.cycle.contest import (
    AGAIN,
    ANSWER,
    GIVEN,
    JUDGED,
    REVERSED,
    AskedTurn,
    JudgedTurn,
    Stored,
)
from worker.cycle.events import Answered, AskedAgain, Compared, Event, Phase, Rated, Valued
from worker.cycle.ports import Judge, Pending, SampleRequest
from worker.cycle.seeds import sampling_seed
from worker.cycle.types import (
    At,
    Dialogue,
    Example,
    Prompt,
    Question,
    Ranked,
    Sample,
    Verdict,
)

T = TypeVar("T")
IN_FLIGHT = 256
"""Questions on their way at once; a judge's own limit of concurrency is below."""


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
class Judged:
    """Another run's judge: what it ranked, and what of it the judge itself is asked again."""

    turns: Sequence[JudgedTurn] = ()
    judge: Judge | None = None
    again: Sequence[AskedTurn] = ()


@dataclass(frozen=True)
class EvaluationConfig:
    """The knobs."""

    seed: int
    samples: int = 1
    """Answers of every contestant to every prompt; the first ones are compared."""
    batch: int = 16
    """Prompts answered at once."""
    letters: bool = False
    """Whether given responses are chosen from by letter."""


def evaluate(
    prompts: Sequence[Prompt],
    given: Sequence[Example],
    judged: Judged,
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
            yield from _value(unread, place, contestant, speaking, letters=config.letters)
            for event in _answer(left, place, contestant, speaking, config):
                answers[event.at] = tuple(sample.text for sample in event.samples)
                yield event
    for name, judge in scorers.items():
        yield Phase("scoring")
        unrated = {at: texts for at, texts in answers.items() if (at, name) not in stored.rated}
        yield from _score(prompts, name, judge, unrated)
        yield from _second_opinion(judged.turns, name, judge, stored)
    if judged.judge is not None:
        yield Phase("asking again")
        yield from _ask_again(judged.judge, judged.again, stored)
    if pairing is not None:
        yield Phase("comparing")
        yield from _compare(prompts, pairing, answers, stored.compared)


def _value(
    unread: Sequence[Example],
    place: int,
    contestant: Contestant,
    speaking: Speaking,
    *,
    letters: bool,
) -> Iterator[Valued]:
    def value(messages: Dialogue, responses: Sequence[str]) -> list[float]:
        return speaking.value(contestant.prepare(messages), responses)

    for example in unread:
        messages, responses = example.prompt.messages, example.responses
        values = by_letters(messages, responses, value) if letters else value(messages, responses)
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

    def ask(at: At, texts: tuple[str, ...]) -> Pending:
        place = At(f"score:{name}", at.step, at.iteration)
        return judge.submit(place, Question(by_step[at.step].messages, texts))

    for at, verdict in in_flight((at, partial(ask, at, texts)) for at, texts in left.items()):
        yield _rated(at, name, verdict)


def _second_opinion(
    judged: Sequence[JudgedTurn], name: str, judge: Judge, stored: Stored
) -> Iterator[Rated]:
    def ask(turn: JudgedTurn) -> Pending:
        place = At(f"{JUDGED}:{name}", turn.step, turn.iteration)
        return judge.submit(place, Question(turn.messages, turn.responses))

    places = [(At(JUDGED, turn.step, turn.iteration), turn) for turn in judged]
    left = [(at, turn) for at, turn in places if (at, name) not in stored.rated]
    for at, verdict in in_flight((at, partial(ask, turn)) for at, turn in left):
        yield _rated(at, name, verdict)


def _ask_again(judge: Judge, turns: Sequence[AskedTurn], stored: Stored) -> Iterator[AskedAgain]:
    """Each question as it was, for an answer of its own, and with the responses in reverse."""
    asks = [
        (At(stage, turn.step, turn.iteration), presented, question)
        for turn in turns
        for stage, presented, question in (
            (AGAIN, turn.presented, replace(turn.question, repeat=1)),
            (REVERSED, turn.presented[::-1], _reversed(turn.question)),
        )
    ]
    left = [one for one in asks if one[0] not in stored.asked_again]
    flights = (((at, shown), partial(judge.submit, at, asked)) for at, shown, asked in left)
    for (at, presented), verdict in in_flight(flights):
        yield AskedAgain(at, presented, verdict)


def _reversed(question: Question) -> Question:
    return replace(question, responses=question.responses[::-1])


def _rated(at: At, name: str, verdict: Verdict) -> Rated:
    scores = verdict.scores if isinstance(verdict, Ranked) else None
    return Rated(at, name, verdict, scores or ())


def _compare(
    prompts: Sequence[Prompt],
    pairing: Pairing,
    answers: Mapping[At, tuple[str, ...]],
    compared: frozenset[At],
) -> Iterator[Compared]:
    looks = _looks(prompts, pairing, answers, compared)
    for blank, verdict in in_flight(looks):
        yield replace(blank, verdict=verdict)


def _looks(
    prompts: Sequence[Prompt],
    pairing: Pairing,
    answers: Mapping[At, tuple[str, ...]],
    compared: frozenset[At],
) -> Iterator[tuple[Compared, Callable[[], Pending]]]:
    """Every look that is still to be taken, with how to ask for it."""
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
                yield blank, partial(pairing.judge.submit, at, question)


def in_flight(asks: Iterable[tuple[T, Callable[[], Pending]]]) -> Iterator[tuple[T, Verdict]]:
    """Ask one after the other, so many at once; yield each verdict in order, as soon as it is here.

    What a judge answers in place is yielded before the next is asked.
    """
    waiting: deque[tuple[T, Pending]] = deque()
    for what, ask in asks:
        waiting.append((what, ask()))
        while waiting and (len(waiting) > IN_FLIGHT or waiting[0][1].done()):
            first, pending = waiting.popleft()
            yield first, pending.result()
    for what, pending in waiting:
        yield what, pending.result()
