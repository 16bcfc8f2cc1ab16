"""A judge that can be gamed: in the real loop a toy learns to, and the watch says so."""

from tests.doubles import SCORER, RuleJudge, ToyPolicy
from tests.unit.methods.runs import prompts
from worker.cycle.events import Iterated
from worker.cycle.health import Alarm, Thresholds, Watch
from worker.methods.cyclealign import CycleConfig, cyclealign

PASSWORD = "never"
SHY = [0.0, 0.0, 0.0, 0.0, -3.0]
"""Weights under which the password is rare at first."""


def rewards_the_password(text: str) -> float:
    return float(PASSWORD in text.split())


def watched(rule: RuleJudge, count: int) -> tuple[list[Alarm], list[Iterated]]:
    watch = Watch(Thresholds(window=20))
    alarms: list[Alarm] = []
    turns: list[Iterated] = []
    config = CycleConfig(5, iterations=4, candidates=4, concurrency=4)
    for event in cyclealign(prompts(count), (), [], ToyPolicy(list(SHY)), rule, config):
        if isinstance(event, Iterated):
            turns.append(event)
            watch.see(event)
            alarms += watch.alarms()
    return alarms, turns


def test_a_judge_that_rewards_a_password_teaches_it_and_is_found_out() -> None:
    alarms, turns = watched(RuleJudge(rewards_the_password, SCORER), 120)
    spoken = [PASSWORD in sample.text.split() for turn in turns[-10:] for sample in turn.samples]
    assert sum(spoken) > len(spoken) / 2
    [alarm] = [alarm for alarm in alarms if alarm.name == "phrase"]
    assert repr(PASSWORD) in alarm.message


def test_a_judge_that_rewards_nothing_in_particular_teaches_no_password() -> None:
    rule = RuleJudge(lambda text: float(len(text) % 2), SCORER)
    alarms, _ = watched(rule, 40)
    assert "phrase" not in {alarm.name for alarm in alarms}
