"""A judge asked in several presentation orders: what it sees, and what its bias can still do."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.doubles import TEACHER, RuleJudge, ToyPolicy, by_length
from tests.unit.methods.runs import STATIC, iterations, prompts, run
from tests.unit.methods.test_flight import LateJudge
from worker.cycle.events import Event, Iterated, Outcome, RoundEnded
from worker.cycle.orders import shifted
from worker.cycle.ports import Answered, Pending
from worker.cycle.ranking import from_scores, opposed_pairs
from worker.cycle.types import At, Fault, Malformed, Question, Ranked, Ranking
from worker.methods.cyclealign import CycleConfig, cyclealign

GARBLED = Malformed(Fault.EMPTY, "nothing came")


@dataclass
class LeaningJudge(RuleJudge):
    """Adds to a response's worth the earlier it is shown."""

    leaning: float = 1.0
    """What the first place is worth; the last is worth nothing."""

    def submit(self, at: At, question: Question) -> Pending:
        """Keep the question and answer it."""
        self.asked.append((at, question))
        last = len(question.responses) - 1
        seen = {
            place: self.rule(text) + self.leaning * (last - place)
            for place, text in enumerate(question.responses)
        }
        return Answered(Ranked(from_scores(seen), teacher=self.writes(question)))


@dataclass
class StumblingJudge(RuleJudge):
    """Its first replies at every place cannot be read."""

    garbled: int = 1

    def submit(self, at: At, question: Question) -> Pending:
        """Keep the question and answer it, if there were enough at its place."""
        before = sum(place == at for place, _ in self.asked)
        answer = super().submit(at, question)
        return Answered(GARBLED) if before < self.garbled else answer


def settings(**more: Any) -> CycleConfig:
    return CycleConfig(7, **{"iterations": 3, "concurrency": 3, "orders": 3, **more})


def judged(events: list[Event]) -> list[Iterated]:
    return [turn for turn in iterations(events) if turn.question is not None]


def truth(turn: Iterated, rule: Callable[[str], float]) -> Ranking:
    return from_scores({one.k: rule(one.text) for one in turn.candidates})


def test_each_order_shows_the_first_one_moved_on_by_a_place() -> None:
    judge = RuleJudge(by_length, TEACHER)
    turns = {turn.at: turn for turn in judged(run(settings(), judge=judge))}
    assert {len(turn.presented) for turn in turns.values()} == {2, 3}
    for at, turn in turns.items():
        asked = [question for place, question in judge.asked if place == at]
        assert asked[0] == turn.question
        assert len(asked) == len(turn.orders) == len(turn.presented)
        for shift, (question, order) in enumerate(zip(asked, turn.orders, strict=True)):
            assert order.presented == shifted(turn.presented, shift)
            texts = tuple(turn.samples[k].text for k in order.presented)
            assert question.responses == texts
            assert question.demonstrations == asked[0].demonstrations
            assert question.wants_response is (shift == 0)


def test_the_first_orders_teacher_response_counts() -> None:
    judge = RuleJudge(by_length, TEACHER, lambda question: f"better than {question.responses[0]}")
    for turn in judged(run(settings(), judge=judge)):
        assert turn.training is not None
        assert turn.training.texts[0] == f"better than {turn.samples[turn.presented[0]].text}"


def test_a_judge_that_reads_the_texts_ranks_as_in_one_order() -> None:
    def told(orders: int) -> list[tuple[Any, ...]]:
        events = iterations(run(settings(orders=orders), judge=RuleJudge(by_length)))
        return [(turn.at, turn.black, turn.white, turn.learned, turn.outcome) for turn in events]

    assert told(3) == told(1)


def test_a_judge_of_places_alone_teaches_nothing_in_all_orders_and_much_in_one() -> None:
    for orders, outcome in ((1, Outcome.UPDATED), (3, Outcome.NOTHING_ORDERED)):
        judge = LeaningJudge(lambda _: 0.0)
        turns = judged(run(settings(orders=orders, iterations=1), judge=judge))
        outcomes = {turn.outcome for turn in turns} - {Outcome.AGREED}
        assert outcomes == {outcome}


def test_a_leaning_judge_sets_no_pair_the_wrong_way_in_both_orders() -> None:
    wrong = {1: 0, 2: 0}
    for orders in wrong:
        config = CycleConfig(7, 3, 2, concurrency=3, orders=orders)
        for turn in judged(run(config, 12, LeaningJudge(by_length, leaning=0.3))):
            assert turn.black is not None
            wrong[orders] += opposed_pairs(turn.black, truth(turn, by_length))
    assert wrong[1] > 3
    assert wrong[2] == 0


def test_orders_that_cannot_be_read_leave_the_ranking_to_the_others() -> None:
    for turn in judged(run(settings(), judge=StumblingJudge(by_length))):
        assert [order.black is None for order in turn.orders][:2] == [True, False]
        assert turn.black == truth(turn, by_length)
        assert turn.outcome is not Outcome.UNRANKED


def test_an_update_is_skipped_only_if_no_order_can_be_read() -> None:
    for turn in judged(run(settings(), judge=StumblingJudge(by_length, garbled=3))):
        assert (turn.verdict, turn.outcome) == (GARBLED, Outcome.UNRANKED)


@pytest.mark.parametrize("more", [{}, {"staleness": 1}, {"update": "per_round"}, {"noise": 0.5}])
def test_a_run_in_orders_goes_on_from_any_round_with_the_same_events(more: dict[str, Any]) -> None:
    config, policy = settings(**more), ToyPolicy()
    events: list[Event] = []
    saved = []
    for event in cyclealign(prompts(5), STATIC, (), policy, LeaningJudge(by_length), config):
        events.append(event)
        if isinstance(event, RoundEnded):
            saved.append((len(events), json.dumps(event.state), copy.deepcopy(policy)))
    for seen, state, checkpoint in saved:
        judge = LeaningJudge(by_length)
        resumed = json.loads(state)
        rest = cyclealign(prompts(5), STATIC, (), checkpoint, judge, config, resumed)
        assert list(rest) == events[seen:]
    assert len(saved) > 3


def test_when_the_replies_of_the_orders_arrive_changes_no_event() -> None:
    late = LateJudge(looks=[0, 3, 1, 2])
    assert run(settings(), judge=late) == run(settings(), judge=RuleJudge())


def test_all_orders_are_asked_before_any_reply_is_waited_for() -> None:
    waited: list[int] = []

    class Noting(LateJudge):
        def submit(self, at: At, question: Question) -> Pending:
            waited.append(len(self.waited))
            return super().submit(at, question)

    run(CycleConfig(7, 1, 3, concurrency=3, orders=3), count=3, judge=Noting(looks=[9]))
    assert len(waited) > 4
    assert set(waited) == {0}


def test_there_is_at_least_one_order() -> None:
    with pytest.raises(ValueError, match="orders must be 1 or more"):
        CycleConfig(7, orders=0)
