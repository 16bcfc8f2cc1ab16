"""Rounds of many lanes: their order, how iterations end, and held-out prompts."""

import dataclasses
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.doubles import READER, SCORER, TEACHER, RuleJudge, ToyPolicy, alphabetically, by_length
from tests.unit.methods.runs import iterations, prompts, run
from worker.cycle.events import (
    Outcome,
    Phase,
    RoundEnded,
    Scored,
    StepEnded,
)
from worker.cycle.lanes import Lane
from worker.cycle.ports import Answers
from worker.cycle.ranking import from_scores
from worker.cycle.turn import make_turn
from worker.cycle.types import (
    At,
    Fault,
    Malformed,
    Ranked,
    Sample,
    Unanswered,
    Verdict,
)
from worker.methods.cyclealign import CycleConfig


def test_a_round_samples_all_lanes_at_once_under_one_version() -> None:
    policy = ToyPolicy()
    events = run(CycleConfig(5, 3, 3, concurrency=4), count=9, policy=policy)
    rounds = itertools.groupby(iterations(events), key=lambda turn: turn.round)
    for (_, turns), batch in zip(rounds, policy.sampled, strict=True):
        lanes = list(turns)
        assert [request.prompt for request in batch] == [turn.prompt for turn in lanes]
        assert len({sample.version for turn in lanes for sample in turn.samples}) == 1
        assert [turn.at.step for turn in lanes] == sorted(turn.at.step for turn in lanes)


def test_finished_lanes_are_refilled_while_prompts_are_left() -> None:
    policy = ToyPolicy()
    run(CycleConfig(5, 3, 3, concurrency=4), count=9, policy=policy)
    entered: set[int] = set()
    for batch in policy.sampled:
        entered |= {request.prompt.step for request in batch}
        assert len(batch) == 4 or entered == set(range(9))


def test_a_round_samples_then_judges_then_learns() -> None:
    events = run(CycleConfig(5, 3, 3, concurrency=4), held_out=prompts(1))
    shape = [e.name if isinstance(e, Phase) else type(e).__name__ for e in events]
    assert shape[:4] == ["evaluating", "Scored", "RoundEnded", "sampling"]
    first = shape[3 : shape.index("RoundEnded", 3) + 1]
    short = [name for name, _ in itertools.groupby(first) if name != "StepEnded"]
    assert [name for name, _ in itertools.groupby(short)] == [
        "sampling", "judging", "learning", "Iterated", "RoundEnded",
    ]  # fmt: skip
    assert shape[-3:] == ["evaluating", "Scored", "RoundEnded"]


def test_only_the_very_last_round_is_done() -> None:
    ends = [e for e in run(CycleConfig(5), held_out=prompts(1)) if isinstance(e, RoundEnded)]
    assert [e.round for e in ends] == list(range(len(ends)))
    assert [e.done for e in ends] == [False] * (len(ends) - 1) + [True]
    assert ends[-1].version == ends[-2].version


def test_every_step_ends_once_by_agreement_or_exhaustion() -> None:
    events = run(CycleConfig(5, 3, 4, concurrency=2), count=12)
    ends = {e.step: e for e in events if isinstance(e, StepEnded)}
    assert sorted(ends) == list(range(12))
    assert {end.agreed for end in ends.values()} == {True, False}
    for step, end in ends.items():
        turns = [turn for turn in iterations(events) if turn.at.step == step]
        assert [turn.at.iteration for turn in turns] == list(range(end.iterations))
        assert (turns[-1].outcome is Outcome.AGREED) is end.agreed
        assert all(turn.outcome is not Outcome.AGREED for turn in turns[:-1])
        assert end.agreed or end.iterations == 3


def test_a_step_that_agrees_at_once_still_updates_once() -> None:
    agreed = [t for t in iterations(run(CycleConfig(5))) if t.outcome is Outcome.AGREED]
    assert agreed
    assert all(turn.learned is not None for turn in agreed)
    assert all(turn.demonstration is None for turn in agreed)


@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [
        (Malformed(Fault.REFUSED, "no"), Outcome.UNRANKED),
        (Unanswered("timeout", "60 s"), Outcome.UNANSWERED),
        (Ranked(((0, 1, 2),)), Outcome.NOTHING_ORDERED),
    ],
)
def test_a_verdict_that_orders_nothing_skips_the_update_and_counts(
    verdict: Verdict, outcome: Outcome
) -> None:
    policy = ToyPolicy(weights=[-20.0, 0.0, 0.0, 0.0, 0.0])
    judge = RuleJudge(instead={At("align", 0, i): verdict for i in range(3)})
    # Seed 0 draws three different texts in each of the three iterations.
    events = run(CycleConfig(0, 3, 3), 1, judge, policy)
    assert [turn.outcome for turn in iterations(events)] == [outcome] * 3
    assert policy.version == 0
    assert StepEnded(0, 3, 3, agreed=False) in events


def test_one_distinct_response_is_not_judged() -> None:
    policy = ToyPolicy(weights=[-20.0, 20.0, -20.0, -20.0, -20.0])
    judge = RuleJudge()
    events = run(CycleConfig(0, 2, 3), 1, judge, policy)
    assert [turn.outcome for turn in iterations(events)] == [Outcome.TOO_FEW] * 2
    assert iterations(events)[0].merged == {1: 0, 2: 0}
    assert judge.asked == []


def test_silent_responses_are_dropped() -> None:
    events = run(CycleConfig(0, 1, 3), 1, policy=ToyPolicy(weights=[40.0, 0.0, 0.0, 0.0, 0.0]))
    assert [turn.merged for turn in iterations(events)] == [{0: -1, 1: -1, 2: -1}]
    assert [turn.white for turn in iterations(events)] == [()]


def test_the_belief_is_measured_before_the_round_learns() -> None:
    sampled = run(CycleConfig(5, 3, 3, concurrency=4, belief="sampling"))
    scored = run(CycleConfig(5, 3, 3, concurrency=4, belief="scoring"))
    for one, other in zip(iterations(sampled), iterations(scored), strict=True):
        beliefs = [[c.belief for c in turn.candidates] for turn in (one, other)]
        assert beliefs[0] == pytest.approx(beliefs[1])


class Scoring(ToyPolicy):
    """Scores by its version and the place in the list, whatever the text."""

    def score(self, answers: Sequence[Answers]) -> list[list[float]]:
        return [[-self.version - place / 8 for place in range(len(a.samples))] for a in answers]


def test_a_scoring_pass_gives_the_belief_under_the_weights_that_sampled() -> None:
    events = run(CycleConfig(5, 3, 3, concurrency=4, belief="scoring"), policy=Scoring())
    for turn in iterations(events):
        scores = [-turn.samples[0].version - place / 8 for place in range(len(turn.candidates))]
        assert [candidate.belief for candidate in turn.candidates] == scores
        assert turn.white == tuple((candidate.k,) for candidate in turn.candidates)


def test_the_teacher_leads_the_update_and_nothing_else() -> None:
    judge = RuleJudge(traits=TEACHER, writes=lambda _: "better than all")
    with_teacher = iterations(run(CycleConfig(5, 1, 4), judge=judge))
    assert with_teacher
    for turn in with_teacher:
        if turn.training is not None:
            assert turn.training.texts[0] == "better than all"
            assert turn.training.tokens[0] is None
            assert set(turn.agreement) <= {candidate.k for candidate in turn.candidates}
        if turn.demonstration is not None:
            assert "better than all" not in turn.demonstration.responses


def test_no_response_is_asked_of_a_judge_that_cannot_write_or_shall_not() -> None:
    for config, traits in ((CycleConfig(5), READER), (CycleConfig(5, teacher=False), TEACHER)):
        judge = RuleJudge(traits=traits, writes=lambda _: "unasked")
        run(config, judge=judge)
        assert not any(question.wants_response for _, question in judge.asked)


def test_a_judge_that_ranks_something_else_breaks_its_contract() -> None:
    judge = RuleJudge(instead={At("align", 0, 0): Ranked(((0,), (0,), (1,), (7,)))})
    with pytest.raises(ValueError, match="does not rank"):
        run(CycleConfig(0), 1, judge, ToyPolicy(weights=[-20.0, 0.0, 0.0, 0.0, 0.0]))


@given(st.permutations(range(4)))
def test_the_order_of_presentation_changes_no_stored_ranking(shuffle: list[int]) -> None:
    texts = ["yes", "no", "no", "never", "maybe", "yes no"]
    samples = tuple(Sample(t, (1,), -float(k), "stop", k, 0) for k, t in enumerate(texts))
    beliefs = {k: samples[k].logprob for k in (0, 1, 3, 4)}
    lane = Lane(prompts(1)[0])
    turn = make_turn(lane, 1, samples, lambda _: shuffle, (), wants_response=False)
    turn = dataclasses.replace(turn, beliefs=beliefs)
    assert turn.question is not None
    for rule in (alphabetically, by_length):
        verdict = RuleJudge(rule).submit(turn.at, turn.question).result()
        assert isinstance(verdict, Ranked)
        assert turn.black(verdict) == from_scores({k: rule(texts[k]) for k in beliefs})


def test_presentation_is_shuffled() -> None:
    shown = {t.presented for t in iterations(run(CycleConfig(5), 12)) if len(t.presented) == 3}
    assert len(shown) > 3


def test_held_out_prompts_are_scored_before_and_after_in_sample_order() -> None:
    judge, policy = RuleJudge(by_length, SCORER), ToyPolicy()
    config = CycleConfig(5, 2, 3, concurrency=2, held_out_samples=2)
    events = run(config, judge=judge, policy=policy, held_out=prompts(4))
    scored = [event for event in events if isinstance(event, Scored)]
    assert [(s.at.stage, s.at.step) for s in scored] == [
        (stage, step) for stage in ("held_out_before", "held_out_after") for step in range(4)
    ]
    for one in scored:
        assert one.scores == tuple(by_length(sample.text) for sample in one.samples)
    assert [len(batch) for batch in policy.sampled[:2]] == [3, 1]
    assert {s.samples[0].version for s in scored} == {0, policy.version}


def test_a_judge_without_scores_ranks_held_out_samples_but_never_a_single_one() -> None:
    for count, asked in ((2, True), (1, False)):
        config = CycleConfig(5, 1, 2, held_out_samples=count)
        scored = [e for e in run(config, held_out=prompts(1)) if isinstance(e, Scored)]
        assert [s.scores for s in scored] == [(), ()]
        assert [s.verdict is not None for s in scored] == [asked, asked]


def test_no_prompts_is_a_run_of_no_rounds() -> None:
    events = run(CycleConfig(5), count=0)
    assert [type(event) for event in events] == [RoundEnded, RoundEnded]


@pytest.mark.parametrize(
    "wrong", [{"candidates": 1}, {"iterations": 0}, {"concurrency": 0}, {"held_out_samples": 0}]
)
def test_numbers_without_a_cycle_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        dataclasses.replace(CycleConfig(0), **wrong)  # type: ignore[arg-type]  # ints by name
