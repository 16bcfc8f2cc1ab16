"""Learning from given responses: every row once an epoch, in a drawn order, resumed anywhere."""

import copy
from collections.abc import Iterator
from typing import Literal

import pytest

from tests.doubles import ToyPolicy
from worker.cycle.events import Event, Phase, RoundEnded, Taught
from worker.cycle.types import Example, Message, Prompt
from worker.methods.offline import OfflineConfig, offline


def examples(count: int) -> list[Example]:
    return [
        Example(
            Prompt(step, (Message("user", f"Question {step}?"),)),
            ("no", "yes", "maybe"),
            ((1,), (0, 2)),
            (0.2, 0.9, 0.2),
        )
        for step in range(count)
    ]


def measured(when: Literal["before", "after"]) -> Iterator[Event]:
    yield Phase(f"evaluating {when}")


def run(config: OfflineConfig, count: int = 7, policy: ToyPolicy | None = None) -> list[Event]:
    return list(offline(examples(count), policy or ToyPolicy(), config, measured))


def taught(events: list[Event]) -> list[Taught]:
    return [event for event in events if isinstance(event, Taught)]


def test_every_row_is_learnt_from_once_an_epoch_in_another_order() -> None:
    lessons = taught(run(OfflineConfig(seed=3, epochs=3, concurrency=2)))
    epochs = [[t.at.step for t in lessons if t.at.iteration == epoch] for epoch in range(3)]
    assert all(sorted(steps) == list(range(7)) for steps in epochs)
    assert len({tuple(steps) for steps in epochs}) == 3
    assert [t.last for t in lessons] == [False] * 14 + [True] * 7


def test_the_best_response_stands_first_with_its_score() -> None:
    policy = ToyPolicy()
    run(OfflineConfig(seed=3), policy=policy)
    ranking = policy.learnt[0]
    assert ranking.texts == ("yes", "no", "maybe")
    assert ranking.groups == ((0,), (1, 2))
    assert ranking.scores == (0.9, 0.2, 0.2)
    assert ranking.target == 0
    assert ranking.tokens == (None, None, None)


@pytest.mark.parametrize(("update", "steps"), [("per_prompt", 7), ("per_round", 3)])
def test_a_round_takes_one_step_a_row_or_one_in_all(
    update: Literal["per_prompt", "per_round"], steps: int
) -> None:
    policy = ToyPolicy()
    run(OfflineConfig(seed=3, concurrency=3, update=update), policy=policy)
    assert policy.version == steps


def test_it_is_measured_before_and_after() -> None:
    phases = [e.name for e in run(OfflineConfig(seed=3)) if isinstance(e, Phase)]
    assert phases == ["evaluating before", "learning", "evaluating after"]


def test_it_goes_on_from_every_round_as_if_it_had_not_stopped() -> None:
    config = OfflineConfig(seed=3, epochs=2, concurrency=3)
    whole = run(config)
    policy = ToyPolicy()
    for place, event in enumerate(offline(examples(7), policy, config, measured)):
        if isinstance(event, RoundEnded):
            resumed = offline(examples(7), copy.deepcopy(policy), config, measured, event.state)
            assert list(resumed) == whole[place + 1 :]
