"""Rank 0 leads and the others follow: each call of the policy is made on all ranks at once."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from worker.cycle.ports import Answers, SampleRequest
from worker.cycle.types import Learned, Sample, TrainingRanking
from worker.whitebox.errors import WhiteBoxError
from worker.whitebox.policy import WhiteBox


@dataclass(frozen=True)
class Call:
    """A method for all ranks to call, with its argument."""

    name: Literal["sample", "score", "foresee", "learn", "snapshot", "restore"]
    version: int = 0
    argument: Any = None


Tell = Callable[[Call], None]
"""How rank 0 tells the others what to call."""


class Leader(WhiteBox):
    """Rank 0's policy: has the others call what it is called."""

    def __init__(self, policy: WhiteBox, tell: Tell) -> None:
        super().__init__(policy.speaker, policy.learner)
        self._tell = tell

    def sample(self, requests: Sequence[SampleRequest]) -> Iterator[tuple[int, list[Sample]]]:
        """Sample all requests; they are yielded when all ranks are done.

        Raises:
            Interrupted: the caller asked to stop.
        """
        self._tell(Call("sample", self.version, tuple(requests)))
        yield from super().sample(requests)

    def score(self, answers: Sequence[Answers]) -> list[list[float]]:
        """Token-mean log-probability of each sample under the current weights, in nats."""
        self._tell(Call("score", self.version, tuple(answers)))
        return super().score(answers)

    def foresee(self, answers: Answers) -> None:
        """Run the forward pass of a step on these answers ahead."""
        self._tell(Call("foresee", self.version, answers))
        super().foresee(answers)

    def learn(self, rankings: Sequence[TrainingRanking]) -> list[Learned]:
        """Take one optimizer step on the mean loss of the rankings.

        Raises:
            NonFiniteLoss: nothing was changed.
        """
        self._tell(Call("learn", self.version, tuple(rankings)))
        return super().learn(rankings)


def follow(policy: WhiteBox, calls: Iterable[Call]) -> None:
    """Make each call; what goes wrong on all ranks alike is rank 0's to report."""
    for call in calls:
        policy.learner.version = call.version
        with contextlib.suppress(WhiteBoxError):
            _make(policy, call)


def _make(policy: WhiteBox, call: Call) -> None:
    match call.name:
        case "sample":
            list(policy.sample(call.argument))
        case "score":
            policy.score(call.argument)
        case "foresee":
            policy.foresee(call.argument)
        case "learn":
            policy.learn(call.argument)
        case "snapshot":
            with policy.learner.stepper.snapshot():
                pass
        case "restore":
            policy.learner.stepper.restore(None)
