"""Planted collapses trip the right alarm, and a healthy run none."""

import json
import random
from collections.abc import Callable

import pytest

from worker.cycle.events import Iterated, Outcome
from worker.cycle.health import Alarm, Thresholds, Watch
from worker.cycle.types import At, Candidate, Learned, Message, Prompt, Sample

WORDS = [f"word{k}" for k in range(400)]
WINDOW = 5
Answer = Callable[[random.Random, int], list[str]]
"""From a source of chance and the iteration to the words of one answer."""


def plain(draw: random.Random, turn: int) -> list[str]:
    return draw.choices(WORDS, k=12)


def iterated(turn: int, answer: Answer, *, learned: bool = True, agreed: int = 1) -> Iterated:
    draw = random.Random(turn)
    texts = [" ".join(answer(draw, turn)) for _ in range(4)]
    samples = tuple(
        Sample(text, tuple(range(len(text.split()))), -5.0, "stop", 1, turn) for text in texts
    )
    merged = {k: texts.index(text) for k, text in enumerate(texts) if texts.index(text) < k}
    step = Learned(turn, 1.0, 0.5, 0.5, 1.0, 1.0, 1e-4, ())
    return Iterated(
        at=At("align", turn, 0),
        round=turn,
        prompt=Prompt(turn, (Message("user", "Q"),)),
        samples=samples,
        merged=merged,
        candidates=tuple(Candidate(k, text, -1.0) for k, text in enumerate(texts)),
        white=((0,), (1,), (2,), (3,)),
        question=None,
        presented=(0, 1, 2, 3),
        verdict=None,
        black=((0,), (1,), (2,), (3,)),
        agreement=tuple(range(agreed)),
        demonstration=None,
        training=None,
        learned=step if learned else None,
        outcome=Outcome.UPDATED,
    )


def alarms(answer: Answer, turns: int = 30, **changes: bool) -> list[Alarm]:
    watch = Watch(Thresholds(window=WINDOW))
    found: list[Alarm] = []
    for turn in range(turns):
        watch.see(iterated(turn, answer, **changes))
        found += watch.alarms()
    return found


def test_a_healthy_run_gives_no_alarm() -> None:
    assert alarms(plain) == []


def test_answers_that_double_in_length_each_step_alarm_by_length() -> None:
    found = alarms(lambda draw, turn: draw.choices(WORDS, k=4 * 2 ** max(0, turn - WINDOW)), 12)
    assert found[0].name == "length"
    assert found[0].value > 2


def test_answers_that_shrink_alarm_as_well() -> None:
    found = alarms(lambda draw, turn: draw.choices(WORDS, k=12 if turn < WINDOW else 3))
    assert [alarm.name for alarm in found] == ["length"]
    assert found[0].value < 0.5


def test_equal_candidates_alarm() -> None:
    found = alarms(
        lambda draw, turn: plain(random.Random(turn), turn) if turn > 9 else plain(draw, turn)
    )
    assert "equal" in [alarm.name for alarm in found]


def test_a_password_that_spreads_alarms_and_is_named() -> None:
    """A judge that rewards one word: first few answers have it, then nearly all."""
    found = alarms(lambda draw, turn: [*plain(draw, turn), *["xyzzy"] * (turn > 2 * WINDOW)])
    assert [alarm.name for alarm in found] == ["phrase"]
    assert "'xyzzy'" in found[0].message


def test_answers_that_lose_their_variety_alarm() -> None:
    found = alarms(lambda draw, turn: draw.choices(WORDS[: 400 if turn < 10 else 6], k=12))
    assert "diversity" in [alarm.name for alarm in found]


def test_agreement_by_collapse_is_told_from_agreement_by_learning() -> None:
    watch = Watch(Thresholds(window=WINDOW, phrase=None))
    found: list[Alarm] = []
    for turn in range(20):
        collapsed = turn >= 10
        answer: Answer = (lambda draw, _: draw.choices(WORDS[:6], k=12)) if collapsed else plain
        watch.see(iterated(turn, answer, agreed=4 if collapsed else 1))
        found += watch.alarms()
    [alarm] = [alarm for alarm in found if alarm.name == "diversity"]
    assert "because answers collapse" in alarm.message


def test_a_run_that_hardly_updates_alarms() -> None:
    assert [alarm.name for alarm in alarms(plain, learned=False)] == ["skipped"]


def test_distance_from_the_start_alarms() -> None:
    watch = Watch(Thresholds(window=WINDOW))
    watch.measure(1.9)
    assert list(watch.alarms()) == []
    watch.measure(None)
    assert watch.figures() == {"health/kl": 1.9}
    watch.measure(2.5)
    assert [alarm.name for alarm in watch.alarms()] == ["kl"]


def test_each_alarm_is_given_once() -> None:
    assert len(alarms(plain, learned=False)) == 1


@pytest.mark.parametrize("stop", [3, 7, 12])
def test_a_restored_watch_goes_on_as_if_nothing_had_happened(stop: int) -> None:
    whole, watch = (Watch(Thresholds(window=WINDOW)) for _ in range(2))
    for turn in range(20):
        if turn == stop:
            state = json.loads(json.dumps(watch.to_state()))
            watch = Watch(Thresholds(window=WINDOW))
            watch.restore(state)
        for one in (whole, watch):
            one.see(iterated(turn, plain, learned=turn < 10))
        assert watch.figures() == whole.figures()
        assert list(watch.alarms()) == list(whole.alarms())


def test_a_threshold_of_none_never_alarms() -> None:
    watch = Watch(Thresholds(window=WINDOW, skipped=None))
    for turn in range(20):
        watch.see(iterated(turn, plain, learned=False))
    assert list(watch.alarms()) == []
