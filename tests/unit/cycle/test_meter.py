"""The meter on a clock that moves by hand: who is charged for which second."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from tests.doubles import TEACHER, RuleJudge, ToyPolicy
from tests.unit.methods.runs import STATIC, prompts
from worker.cycle.events import RoundEnded
from worker.cycle.meter import Meter, metered_judge, metered_policy, pairs
from worker.cycle.ports import Answered, Answers, Pending, SampleRequest
from worker.cycle.types import At, Learned, Prompt, Question, Sample, TrainingRanking, Verdict
from worker.methods.cyclealign import CycleConfig, cyclealign

TWO = prompts(2)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class SlowPolicy(ToyPolicy):
    """Two seconds a prompt sampled, one scored, half a one foreseen, three an update."""

    clock: Clock = field(default_factory=Clock)

    def sample(self, requests: Sequence[SampleRequest]) -> Iterator[tuple[int, list[Sample]]]:
        for arrived in super().sample(requests):
            self.clock.now += 2
            yield arrived

    def score(self, answers: Sequence[Answers]) -> list[list[float]]:
        self.clock.now += len(answers)
        return super().score(answers)

    def foresee(self, answers: Answers) -> None:
        self.clock.now += 0.5
        super().foresee(answers)

    def learn(self, rankings: Sequence[TrainingRanking]) -> list[Learned]:
        self.clock.now += 3
        return super().learn(rankings)


@dataclass(frozen=True)
class Later:
    """A verdict that comes four seconds after it is waited for."""

    verdict: Pending
    clock: Clock

    def done(self) -> bool:
        return False

    def result(self) -> Verdict:
        self.clock.now += 4
        return self.verdict.result()


@dataclass
class SlowJudge(RuleJudge):
    """One second to take a question, four to answer it."""

    clock: Clock = field(default_factory=Clock)

    def submit(self, at: At, question: Question) -> Pending:
        self.clock.now += 1
        return Later(super().submit(at, question), self.clock)


def sample_request(prompt: Prompt) -> SampleRequest:
    return SampleRequest(prompt, (1, 2, 3))


def question(prompt: Prompt) -> Question:
    return Question(prompt.messages, ("yes", "no"))


def ranking(prompt: Prompt) -> TrainingRanking:
    """Two sampled tokens, and a text of the teacher."""
    return TrainingRanking(prompt, ("yes no", "never"), ((1, 2), None), ((0,), (1,)), 0)


def test_each_second_is_charged_to_what_the_method_waits_for() -> None:
    clock = Clock()
    meter = Meter(clock)
    policy = metered_policy(SlowPolicy(clock=clock), meter)
    judge = metered_judge(SlowJudge(clock=clock), meter)
    pending = []
    for index, samples in policy.sample([sample_request(prompt) for prompt in TWO]):
        pending.append(judge.submit(At("align", index, 0), question(TWO[index])))
        policy.foresee(Answers(TWO[index], tuple(samples)))
        clock.now += 0.5
    policy.score([Answers(TWO[0], tuple(samples))])
    for prompt, asked in zip(TWO, pending, strict=True):
        asked.result()
        policy.learn([ranking(prompt)])
    clock.now += 2
    reading = meter.reading()
    assert reading["work/seconds"] == 25
    assert reading["time/sampling"] == 4 / 25
    assert reading["time/judging"] == 10 / 25
    assert reading["time/learning"] == 8 / 25
    assert reading["time/idle"] == 3 / 25


def test_the_work_is_counted_in_samples_tokens_and_pairs() -> None:
    clock = Clock()
    meter = Meter(clock, prompt_tokens=lambda _: 10, response_tokens=len)
    policy = metered_policy(SlowPolicy(clock=clock), meter)
    drawn = dict(policy.sample([sample_request(prompt) for prompt in TWO]))
    policy.learn([ranking(prompt) for prompt in TWO])
    clock.now += 3
    reading = meter.reading()
    generated = sum(len(sample.tokens) for samples in drawn.values() for sample in samples)
    assert reading["work/seconds"] == 10
    assert reading["lanes/busy"] == 2
    assert reading["speed/samples"] == 6 / 10
    assert reading["speed/generated_tokens"] == generated / 10
    assert reading["speed/trained_tokens"] == 2 * (2 + 5) / 10
    assert reading["work/prompt_tokens"] == reading["work/trained_prompt_tokens"] == 20
    assert reading["work/prompt_pairs"] == 2 * 55
    assert reading["work/trained_pairs"] == 2 * (55 + (20 + 3) + (50 + 15))
    assert reading["work/updates"] == 1


def test_texts_that_nobody_can_count_are_left_out() -> None:
    meter = Meter(Clock())
    metered_policy(ToyPolicy(), meter).learn([ranking(TWO[0])])
    assert meter.reading()["work/trained_response_tokens"] == 2


def test_a_reading_begins_anew() -> None:
    clock = Clock()
    meter = Meter(clock)
    policy = metered_policy(SlowPolicy(clock=clock), meter)
    policy.learn([ranking(TWO[0])])
    meter.reading()
    clock.now += 5
    second = meter.reading()
    assert (second["work/seconds"], second["time/idle"], second["work/updates"]) == (5, 1, 0)


def test_a_failed_call_is_timed_and_not_counted() -> None:
    clock = Clock()
    meter = Meter(clock)
    policy = metered_policy(SlowPolicy(clock=clock), meter)
    with pytest.raises(ZeroDivisionError):
        policy.score([Answers(TWO[0], (Sample("", (), 0.0, "stop", 1, 0),))])
    clock.now += 1
    reading = meter.reading()
    assert (reading["time/learning"], reading["time/idle"]) == (0.5, 0.5)


def test_a_clock_that_stands_still_gives_no_rate() -> None:
    assert set(Meter(Clock()).reading().values()) == {0}


def test_attention_pairs_are_causal_and_share_the_prompt() -> None:
    # Prompt 3: 1+2+3; the first token of a response sees 4, the second 5.
    assert pairs(3) == 6
    assert pairs(3, [2, 1]) == 6 + (4 + 5) + 4


@pytest.mark.parametrize("lanes", [1, 3])
def test_the_method_does_the_same_when_it_is_measured(lanes: int) -> None:
    config = CycleConfig(seed=3, iterations=3, concurrency=lanes)
    plain = list(cyclealign(prompts(5), STATIC, TWO, ToyPolicy(), taught(), config))
    clock = Clock()
    meter = Meter(clock)
    policy = metered_policy(SlowPolicy(clock=clock), meter)
    judge = metered_judge(taught(), meter)
    assert judge.traits == taught().traits
    readings = []
    for event, expected in zip(
        cyclealign(prompts(5), STATIC, TWO, policy, judge, config), plain, strict=True
    ):
        assert event == expected
        if isinstance(event, RoundEnded):
            assert policy.version == event.version
            readings.append(meter.reading())
    assert readings[1]["lanes/busy"] == lanes
    for reading in readings:
        shares = [value for name, value in reading.items() if name.startswith("time/")]
        assert sum(shares) == pytest.approx(1)


def taught() -> RuleJudge:
    return RuleJudge(traits=TEACHER, writes=lambda _: "yes yes")


def test_a_verdict_that_is_here_passes_through() -> None:
    judge = metered_judge(RuleJudge(), Meter(Clock()))
    pending = judge.submit(At("align", 0, 0), question(TWO[0]))
    assert pending.done()
    assert Answered(pending.result()) == RuleJudge().submit(At("align", 0, 0), question(TWO[0]))
