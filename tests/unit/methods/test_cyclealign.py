"""The cycle: equal to the paper's serial loop with one lane, and faithful to it with many."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.doubles import SCORER, TEACHER, RuleJudge, ToyPolicy, by_length
from tests.unit.methods.reference import Turned, reference
from tests.unit.methods.runs import STATIC, iterations, prompts, run
from worker.cycle.demos import Dynamic
from worker.cycle.events import (
    Event,
    Iterated,
    Outcome,
    RoundEnded,
)
from worker.cycle.types import (
    At,
    Demonstration,
    Fault,
    Malformed,
    Question,
    Ranking,
    Unanswered,
)
from worker.methods.cyclealign import CycleConfig, cyclealign


def turned(events: list[Event]) -> list[Turned]:
    return [
        Turned(e.at, e.question, e.white, e.black, e.training, e.learned)
        for e in iterations(events)
        if e.question is not None and e.black is not None
    ]


def echo_or_better(question: Question) -> str | None:
    """Sometimes a twin of a candidate, sometimes blank, sometimes new."""
    pick = len("".join(question.responses)) % 3
    return [question.responses[-1], " ", "yes maybe never no"][pick]


JUDGES: dict[str, Callable[[], RuleJudge]] = {
    "strict": RuleJudge,
    "tied": lambda: RuleJudge(by_length),
    "teacher": lambda: RuleJudge(by_length, TEACHER, echo_or_better),
    "scorer": lambda: RuleJudge(by_length, SCORER),
    "unreliable": lambda: RuleJudge(
        instead={
            At("align", 1, 0): Malformed(Fault.MISSING, "not ranked: 2"),
            At("align", 2, 1): Unanswered("timeout", "60 s"),
        }
    ),
}


@pytest.mark.parametrize("kind", JUDGES)
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), candidates=st.integers(2, 5), scoring=st.booleans())
def test_one_lane_is_the_serial_loop_of_the_paper(
    kind: str, seed: int, candidates: int, scoring: bool
) -> None:
    ours, theirs = (ToyPolicy(), JUDGES[kind]()), (ToyPolicy(), JUDGES[kind]())
    config = CycleConfig(
        seed, 4, candidates, 1, belief="scoring" if scoring else "sampling", teacher=True
    )
    expected = reference(
        prompts(4), STATIC, *theirs, seed=seed, iterations=4, candidates=candidates,
        teacher=True, scoring=scoring,
    )  # fmt: skip
    assert turned(run(config, 4, ours[1], ours[0])) == expected
    assert ours[1].asked == theirs[1].asked
    assert ours[0].learnt == theirs[0].learnt
    assert ours[0].weights == theirs[0].weights


@pytest.mark.parametrize(
    "more", [{}, {"update": "per_round"}, {"staleness": 1}], ids=["plain", "per_round", "stale"]
)
@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("kind", JUDGES)
def test_a_run_resumed_at_any_round_goes_on_with_the_same_events(
    kind: str, concurrency: int, more: dict[str, Any]
) -> None:
    if more.get("staleness") and concurrency == 1:
        more = {}
    config = CycleConfig(7, 3, 3, concurrency, held_out_samples=2, **more)
    aside, policy, judge = prompts(2), ToyPolicy(), JUDGES[kind]()
    events: list[Event] = []
    saved = []
    for event in cyclealign(prompts(5), STATIC, aside, policy, judge, config):
        events.append(event)
        if isinstance(event, RoundEnded):
            saved.append((len(events), json.dumps(event.state), copy.deepcopy(policy)))
    for seen, state, checkpoint in saved:
        rest = cyclealign(
            prompts(5), STATIC, aside, checkpoint, JUDGES[kind](), config, json.loads(state)
        )
        assert list(rest) == events[seen:]
    assert len(saved) > 4


def test_the_state_of_a_round_is_json() -> None:
    for event in run(CycleConfig(3, concurrency=3)):
        if isinstance(event, RoundEnded):
            assert json.loads(json.dumps(event.state)) == event.state


def test_every_prompt_in_flight_reads_its_own_demonstrations() -> None:
    events = run(CycleConfig(5, 5, 4, concurrency=4), count=9)
    grown: dict[int, tuple[object, ...]] = {}
    for turn in iterations(events):
        before = grown.get(turn.at.step, STATIC)
        if turn.question is not None:
            assert turn.question.demonstrations == before
        grown[turn.at.step] = (*before, *([turn.demonstration] if turn.demonstration else []))
    longest = max(len(shown) for shown in grown.values())
    assert longest > 2


def test_an_agreement_of_two_or_more_becomes_a_demonstration() -> None:
    for turn in iterations(run(CycleConfig(5, 5, 4, concurrency=2))):
        grows = turn.outcome is Outcome.UPDATED and len(turn.agreement) > 1
        assert (turn.demonstration is not None) is grows
        if turn.demonstration:
            assert demonstrated(turn, turn.demonstration) == tuple((k,) for k in turn.agreement)


@pytest.mark.parametrize("dynamic", ["black_box", "white_box"])
def test_ablations_demonstrate_a_whole_ranking(dynamic: Dynamic) -> None:
    for turn in iterations(run(CycleConfig(5, 5, 4, dynamic=dynamic))):
        if turn.demonstration:
            ranking = turn.black if dynamic == "black_box" else turn.white
            assert demonstrated(turn, turn.demonstration) == ranking
            assert turn.demonstration.origin == dynamic


def demonstrated(turn: Iterated, shown: Demonstration) -> Ranking:
    """The answer of a demonstration, in the sample indices of its iteration."""
    index = {candidate.text: candidate.k for candidate in turn.candidates}
    names = [index[text] for text in shown.responses]
    return tuple(tuple(sorted(names[i] for i in group)) for group in shown.answer)


def test_without_dynamic_demonstrations_only_static_ones_are_read() -> None:
    judge = RuleJudge()
    events = run(CycleConfig(5, 5, 4, dynamic="none"), judge=judge)
    assert {question.demonstrations for _, question in judge.asked} == {STATIC}
    assert all(turn.demonstration is None for turn in iterations(events))


def test_a_judge_that_reads_no_demonstrations_gets_none() -> None:
    judge = RuleJudge(by_length, SCORER)
    events = run(CycleConfig(5, 5, 4), judge=judge)
    assert {question.demonstrations for _, question in judge.asked} == {()}
    assert all(turn.demonstration is None for turn in iterations(events))
