"""Whether a run is still healthy: figures over the last iterations beside the first ones.

Rewards can rise while answers get worse. What is watched: length, equal answers, variety, a word
that comes to stand in nearly every answer, distance from the start model, skipped updates. Rising
agreement says little while variety falls: equal answers are easy to agree on.
"""

import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from worker.cycle.events import Iterated

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
RARE = 0.25
"""A word that stood in a larger share of answers at the start is no news."""


@dataclass(frozen=True)
class Thresholds:
    """From where on each figure alarms; None never does."""

    window: int = 16
    """Iterations."""
    length: float | None = 2.0
    """Mean length as a multiple of that at the start, or that as a multiple of it."""
    equal: float | None = 0.5
    """Share of answers that equal another one of their prompt, or are empty."""
    diversity: float | None = 0.5
    """Distinct pairs of words as a multiple of those at the start; alarms below."""
    phrase: float | None = 0.8
    """Share of answers with one and the same word that was rare at the start."""
    kl: float | None = 2.0
    """Distance from the start model, in nats a token."""
    skipped: float | None = 0.5
    """Share of iterations without an update."""


@dataclass(frozen=True)
class Alarm:
    """A figure beyond its threshold."""

    name: str
    value: float
    threshold: float
    message: str


@dataclass(frozen=True)
class _Seen:
    """What is kept of one iteration."""

    tokens: float
    """Mean length of its answers."""
    equal: float
    words: list[list[str]]
    """Of each answer."""
    agreement: float | None
    learned: bool


@dataclass
class Watch:
    """Keeps the first and the last iterations of a run."""

    thresholds: Thresholds
    first: list[_Seen] = field(default_factory=list)
    last: deque[_Seen] = field(default_factory=deque)
    kl: float | None = None
    count: int = 0
    """Iterations seen."""
    raised: set[str] = field(default_factory=set)
    """Alarms that were given; each is given once."""

    def see(self, event: Iterated) -> None:
        """Note one iteration."""
        seen = _seen(event)
        self.count += 1
        if len(self.first) < self.thresholds.window:
            self.first.append(seen)
        self.last.append(seen)
        while len(self.last) > self.thresholds.window:
            self.last.popleft()

    def measure(self, kl: float | None) -> None:
        """Note a distance from the start model, where one could be measured."""
        self.kl = self.kl if kl is None else kl

    def figures(self) -> dict[str, float]:
        """The figures as they are now; those that compare need two windows."""
        found: dict[str, float] = {}
        if len(self.last) == self.thresholds.window:
            found["health/equal"] = _mean([seen.equal for seen in self.last])
            found["health/skipped"] = _mean([not seen.learned for seen in self.last])
            found["health/length"] = _tokens(self.last) / max(_tokens(self.first), 1.0)
            found["health/diversity"] = _variety(self.last) / (_variety(self.first) or 1.0)
            found["health/phrase"] = self._phrase()[1]
        if self.kl is not None:
            found["health/kl"] = self.kl
        return found

    def alarms(self) -> Iterator[Alarm]:
        """What has gone beyond its threshold since the last call."""
        figures, limit = self.figures(), self.thresholds
        for name, value in figures.items():
            short = name.removeprefix("health/")
            bound: float | None = getattr(limit, short)
            if bound is None or short in self.raised or not _beyond(short, value, bound):
                continue
            self.raised.add(short)
            yield Alarm(short, value, bound, self._message(short, value))

    def to_state(self) -> dict[str, Any]:
        """As JSON, so that a resumed run alarms where an unbroken one would."""
        return {
            "first": [asdict(seen) for seen in self.first],
            "last": [asdict(seen) for seen in self.last],
            "kl": self.kl,
            "count": self.count,
            "raised": sorted(self.raised),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Read back what `to_state` wrote."""
        self.first = [_Seen(**seen) for seen in state["first"]]
        self.last = deque(_Seen(**seen) for seen in state["last"])
        self.kl, self.count = state["kl"], state["count"]
        self.raised = set(state["raised"])

    def _phrase(self) -> tuple[str, float]:
        """The word that has spread most, and the share of answers that hold it now."""
        before, now = _shares(self.first), _shares(self.last)
        spread = {word: share for word, share in now.items() if before.get(word, 0.0) < RARE}
        return max(spread.items(), key=lambda item: (item[1], item[0]), default=("", 0.0))

    def _message(self, name: str, value: float) -> str:
        match name:
            case "length":
                return f"Answers are {value:.1f} times as long as at the start."
            case "equal":
                return f"{value:.0%} of the answers equal another one of their prompt or are empty."
            case "diversity":
                return f"Answers vary {value:.2f} times as much as at the start." + self._why()
            case "phrase":
                return f"{value:.0%} of the answers hold the word {self._phrase()[0]!r}."
            case "kl":
                return f"The model is {value:.1f} nats a token from where it started."
            case _:
                return f"{value:.0%} of the iterations made no update."

    def _why(self) -> str:
        """Tell agreement that rises by collapse from agreement that rises by learning."""
        before, now = _agreement(self.first), _agreement(self.last)
        if before is None or now is None or now <= before:
            return ""
        return " Agreement rises meanwhile: because answers collapse, not because they improve."


def _beyond(name: str, value: float, bound: float) -> bool:
    match name:
        case "diversity":
            return value < bound
        case "length":
            return value > bound or value < 1 / bound
        case _:
            return value >= bound


def _seen(event: Iterated) -> _Seen:
    samples = event.samples
    agreement = len(event.agreement) / len(event.candidates) if event.black else None
    return _Seen(
        tokens=_mean([len(sample.tokens) for sample in samples]),
        equal=len(event.merged) / len(samples),
        words=[_WORD.findall(sample.text.lower()) for sample in samples],
        agreement=agreement,
        learned=event.learned is not None,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _tokens(window: Sequence[_Seen]) -> float:
    return _mean([seen.tokens for seen in window])


def _variety(window: Sequence[_Seen]) -> float:
    """Distinct-2 of all answers: different pairs of words over all pairs."""
    pairs = [
        (words[k], words[k + 1])
        for seen in window
        for words in seen.words
        for k in range(len(words) - 1)
    ]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def _shares(window: Sequence[_Seen]) -> dict[str, float]:
    """The share of answers that hold each word."""
    answers = [set(words) for seen in window for words in seen.words]
    counts = Counter(word for words in answers for word in words)
    return {word: count / len(answers) for word, count in counts.items()}


def _agreement(window: Sequence[_Seen]) -> float | None:
    known = [seen.agreement for seen in window if seen.agreement is not None]
    return _mean(known) if known else None
