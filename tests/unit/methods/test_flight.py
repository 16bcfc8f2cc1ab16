"""Judge calls in flight: replies may come when they like, a slow judge may be a round behind."""

import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.doubles import RuleJudge, ToyPolicy
from tests.unit.methods.runs import iterations, run
from worker.cycle.events import Event, Iterated, RoundEnded, StepEnded
from worker.cycle.ports import Pending
from worker.cycle.types import At, Question, Verdict
from worker.methods.cyclealign import CycleConfig

STALE = CycleConfig(5, 3, 3, concurrency=4, staleness=1)


@dataclass
class LateJudge(RuleJudge):
    """Its replies are there after some looks at them, or when they are waited for."""

    looks: list[int] = field(default_factory=lambda: [0])
    """How often each reply, in turn, is looked at before it is there."""
    waited: list[At] = field(default_factory=list)
    """The order in which replies were taken."""

    def submit(self, at: At, question: Question) -> Pending:
        """Keep the question and answer it later."""
        now = super().submit(at, question).result()
        return Late(self, at, now, self.looks[len(self.asked) % len(self.looks)])


@dataclass
class Late:
    """A reply that takes its time."""

    judge: LateJudge
    at: At
    verdict: Verdict
    left: int

    def done(self) -> bool:
        """Whether it has been looked at often enough."""
        self.left -= 1
        return self.left < 0

    def result(self) -> Verdict:
        """Wait for it."""
        self.judge.waited.append(self.at)
        return self.verdict


def first_judged(events: list[Event]) -> Iterated:
    return next(turn for turn in iterations(events) if turn.question is not None)


def settings(**more: Any) -> CycleConfig:
    return CycleConfig(5, 3, 3, **{"concurrency": 4, **more})


@given(st.lists(st.integers(0, 4), min_size=1, max_size=9), st.sampled_from([0, 1]))
def test_when_replies_arrive_changes_no_event(looks: list[int], staleness: int) -> None:
    config = settings(staleness=staleness)
    assert run(config, judge=LateJudge(looks=looks)) == run(config)


def test_a_prompt_is_asked_about_before_the_next_one_is_sampled() -> None:
    judge, seen = RuleJudge(), []

    class Watching(ToyPolicy):
        def sample(self, requests: Any) -> Any:
            for index, samples in super().sample(requests):
                seen.append(len(judge.asked))
                yield index, samples

    events = run(CycleConfig(5, 1, 3, concurrency=4), count=4, judge=judge, policy=Watching())
    asked = [turn.question is not None for turn in iterations(events)]
    assert sum(asked) > 1
    assert seen == [sum(asked[:i]) for i in range(4)]


def test_the_wait_for_a_judge_is_used_to_run_the_next_step_ahead() -> None:
    for looks, ahead in ((0, False), (9, True)):
        policy = ToyPolicy()
        run(settings(), judge=LateJudge(looks=[looks]), policy=policy)
        assert bool(policy.foreseen) is ahead
    assert set(policy.foreseen[0].samples) <= set(first_judged(run(settings())).samples)


def test_one_step_a_round_learns_from_all_its_rankings_at_once() -> None:
    policy = ToyPolicy()
    events = run(settings(update="per_round"), policy=policy)
    for _, turns in itertools.groupby(iterations(events), key=lambda turn: turn.round):
        assert len({turn.learned.version for turn in turns if turn.learned}) <= 1
    learning = {turn.round for turn in iterations(events) if turn.learned}
    assert policy.version == len(learning)


def versions_at_ends(events: list[Event]) -> dict[int, int]:
    return {event.round: event.version for event in events if isinstance(event, RoundEnded)}


def test_a_stale_cohort_was_sampled_one_round_before_it_is_learnt_from() -> None:
    events = run(STALE, count=9)
    ends = versions_at_ends(events)
    for turn in iterations(events):
        drawn = {sample.version for sample in turn.samples}
        assert drawn == {ends[max(0, turn.round - 2)]}


def test_with_stale_cohorts_half_of_the_lanes_are_sampled_at_a_time() -> None:
    policy = ToyPolicy()
    events = run(STALE, count=9, policy=policy)
    assert {len(batch) for batch in policy.sampled[:4]} == {2}
    assert {event.step for event in events if isinstance(event, StepEnded)} == set(range(9))


def test_the_reply_to_a_stale_cohort_is_taken_after_the_next_one_is_sampled() -> None:
    judge, policy = LateJudge(looks=[0]), ToyPolicy()
    taken: list[int] = []

    class Watching(ToyPolicy):
        def sample(self, requests: Any) -> Any:
            taken.append(len(judge.waited))
            return super().sample(requests)

    run(STALE, count=4, judge=judge, policy=Watching())
    assert taken[:2] == [0, 0]
    assert policy.version == 0


def test_staleness_needs_a_second_lane() -> None:
    with pytest.raises(ValueError, match="two lanes"):
        CycleConfig(5, concurrency=1, staleness=1)
