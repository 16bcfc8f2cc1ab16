"""One way to run the cycle on toys, for the tests of the method."""

from collections.abc import Sequence

from tests.doubles import RuleJudge, ToyPolicy
from worker.cycle.demonstration import BUILT_IN
from worker.cycle.events import (
    Event,
    Iterated,
)
from worker.cycle.types import (
    Message,
    Prompt,
)
from worker.methods.cyclealign import CycleConfig, cyclealign

STATIC = (BUILT_IN,)


def prompts(count: int) -> list[Prompt]:
    return [Prompt(step, (Message("user", f"Question {step}?"),)) for step in range(count)]


def run(
    config: CycleConfig,
    count: int = 6,
    judge: RuleJudge | None = None,
    policy: ToyPolicy | None = None,
    held_out: Sequence[Prompt] = (),
) -> list[Event]:
    judge, policy = judge or RuleJudge(), policy or ToyPolicy()
    return list(cyclealign(prompts(count), STATIC, held_out, policy, judge, config))


def iterations(events: list[Event]) -> list[Iterated]:
    return [event for event in events if isinstance(event, Iterated)]
