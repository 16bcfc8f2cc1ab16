"""Measures a run from outside: what the method's calls cost, and how much work they did.

Time belongs to what the method waits for: the policy (sampling, learning), the judge, or nothing of
these (idle). Results and their order pass through untouched.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from worker.cycle.ports import Answers, Judge, Pending, Policy, SampleRequest, Traits
from worker.cycle.types import At, Learned, Prompt, Question, Sample, TrainingRanking, Verdict

Activity = Literal["sampling", "judging", "learning", "idle"]
ACTIVITIES: tuple[Activity, ...] = ("sampling", "judging", "learning", "idle")
WORK = (
    "prompt_tokens",
    "generated_tokens",
    "trained_prompt_tokens",
    "trained_response_tokens",
    "updates",
    "prompt_pairs",
    "trained_pairs",
)
"""What the physical limit is computed from, under the names that it takes them by."""


def metered_policy(policy: Policy, meter: "Meter") -> Policy:
    """The same policy, timed and counted."""
    return _MeteredPolicy(policy, meter)


def metered_judge(judge: Judge, meter: "Meter") -> Judge:
    """The same judge; only what its caller waits for is timed."""
    return _MeteredJudge(judge, meter)


def pairs(prompt: int, responses: Iterable[int] = ()) -> int:
    """Query-key pairs of causal attention over a prompt and, after it, each response; in tokens."""
    return _triangle(prompt) + sum(prompt * tokens + _triangle(tokens) for tokens in responses)


def _triangle(tokens: int) -> int:
    return tokens * (tokens + 1) // 2


def _unknown(_: object) -> int:
    return 0


@dataclass
class Meter:
    """A stopwatch and counters since the last reading; for the one thread that drives the method.

    Texts whose tokens the ports do not tell (prompts, teacher responses) are counted by
    `prompt_tokens` and `response_tokens`; without these they count as nothing.
    """

    clock: Callable[[], float]
    """In seconds, never going back."""
    prompt_tokens: Callable[[Prompt], int] = _unknown
    response_tokens: Callable[[str], int] = _unknown
    _activity: Activity = field(default="idle", init=False)
    _seconds: dict[Activity, float] = field(init=False)
    _count: Counter[str] = field(default_factory=Counter, init=False)

    def __post_init__(self) -> None:
        """Begin to measure now."""
        # A lane's prompt is met twice in each of its iterations.
        self.prompt_tokens = lru_cache(maxsize=4096)(self.prompt_tokens)
        self._seconds = dict.fromkeys(ACTIVITIES, 0.0)
        self._since = self.clock()

    @contextmanager
    def doing(self, activity: Activity) -> Iterator[None]:
        """Count the time inside as this activity's, and as nobody else's."""
        before = self._turn_to(activity)
        try:
            yield
        finally:
            self._turn_to(before)

    def sampled(self, prompt: Prompt, samples: Sequence[Sample]) -> None:
        """Count one prompt with its responses."""
        length = self.prompt_tokens(prompt)
        self._count["prompts"] += 1
        self._count["samples"] += len(samples)
        self._count["prompt_tokens"] += length
        self._count["prompt_pairs"] += pairs(length)
        self._count["generated_tokens"] += sum(len(sample.tokens) for sample in samples)

    def learned(self, rankings: Sequence[TrainingRanking]) -> None:
        """Count one update on these rankings."""
        self._count["updates"] += 1
        for ranking in rankings:
            prompt = self.prompt_tokens(ranking.prompt)
            responses = list(self._lengths(ranking))
            self._count["trained_prompt_tokens"] += prompt
            self._count["trained_response_tokens"] += sum(responses)
            self._count["trained_pairs"] += pairs(prompt, responses)

    def reading(self) -> dict[str, float]:
        """Return the figures since the last reading, and begin anew.

        `speed/` is per second of wall time, `time/` are shares of it that sum to 1, `lanes/busy`
        is in prompts sampled; `work/` holds the wall seconds and the counts of `WORK`.
        """
        self._turn_to(self._activity)
        seconds, count = self._seconds, self._count
        self._seconds, self._count = dict.fromkeys(ACTIVITIES, 0.0), Counter()
        return _figures(seconds, count)

    def _lengths(self, ranking: TrainingRanking) -> Iterator[int]:
        for text, tokens in zip(ranking.texts, ranking.tokens, strict=True):
            yield self.response_tokens(text) if tokens is None else len(tokens)

    def _turn_to(self, activity: Activity) -> Activity:
        """Charge the time until now to what was done in it; return what that was."""
        now, before = self.clock(), self._activity
        self._seconds[before] += now - self._since
        self._since, self._activity = now, activity
        return before


def _figures(seconds: Mapping[Activity, float], count: Counter[str]) -> dict[str, float]:
    # A clock may stand still between two readings; then nothing has a rate.
    wall = sum(seconds.values()) or float("inf")
    return {
        "speed/samples": count["samples"] / wall,
        "speed/generated_tokens": count["generated_tokens"] / wall,
        "speed/trained_tokens": count["trained_response_tokens"] / wall,
        **{f"time/{activity}": seconds[activity] / wall for activity in ACTIVITIES},
        "lanes/busy": count["prompts"],
        "work/seconds": sum(seconds.values()),
        **{f"work/{name}": count[name] for name in WORK},
    }


@dataclass(frozen=True)
class _MeteredPolicy:
    policy: Policy
    meter: Meter

    @property
    def version(self) -> int:
        """Optimizer steps taken so far."""
        return self.policy.version

    def sample(self, requests: Sequence[SampleRequest]) -> Iterator[tuple[int, list[Sample]]]:
        """Sample; asking at once, as the policy itself would."""
        with self.meter.doing("sampling"):
            arriving = self.policy.sample(requests)
        return self._arriving(arriving, requests)

    def _arriving(
        self, arriving: Iterator[tuple[int, list[Sample]]], requests: Sequence[SampleRequest]
    ) -> Iterator[tuple[int, list[Sample]]]:
        while True:
            with self.meter.doing("sampling"):
                arrived = next(arriving, None)
            if arrived is None:
                return
            index, samples = arrived
            self.meter.sampled(requests[index].prompt, samples)
            yield arrived

    def score(self, answers: Sequence[Answers]) -> list[list[float]]:
        """Score; part of learning."""
        with self.meter.doing("learning"):
            return self.policy.score(answers)

    def foresee(self, answers: Answers) -> None:
        """Foresee; part of learning."""
        with self.meter.doing("learning"):
            self.policy.foresee(answers)

    def learn(self, rankings: Sequence[TrainingRanking]) -> list[Learned]:
        """Learn, and count what was learnt from."""
        with self.meter.doing("learning"):
            learned = self.policy.learn(rankings)
        self.meter.learned(rankings)
        return learned


@dataclass(frozen=True)
class _MeteredJudge:
    judge: Judge
    meter: Meter

    @property
    def traits(self) -> Traits:
        """What the judge can do."""
        return self.judge.traits

    def submit(self, at: At, question: Question) -> Pending:
        """Ask; a judge that answers in place makes its caller wait here."""
        with self.meter.doing("judging"):
            pending = self.judge.submit(at, question)
        return _MeteredPending(pending, self.meter)


@dataclass(frozen=True)
class _MeteredPending:
    pending: Pending
    meter: Meter

    def done(self) -> bool:
        """Whether `result` would return at once."""
        return self.pending.done()

    def result(self) -> Verdict:
        """Wait for the verdict."""
        with self.meter.doing("judging"):
            return self.pending.result()
