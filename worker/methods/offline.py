"""Learning from given responses: epochs over rows, in rounds, without sampling or a judge.

RRHF, PRO, DPO, SFT and reward models are this loop with another objective. The rows of an epoch
come in an order drawn from the seed and the epoch; PRO and RRHF publish no order.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from worker.cycle.events import Event, Phase, RoundEnded, Taught
from worker.cycle.ports import Learning, State
from worker.cycle.seeds import permutation
from worker.cycle.training import in_order
from worker.cycle.types import At, Example

STAGE = "align"

Evaluate = Callable[[Literal["before", "after"]], Iterator[Event]]
"""What is measured before the first round and after the last one."""


@dataclass(frozen=True)
class OfflineConfig:
    """The knobs of the loop."""

    seed: int
    epochs: int = 1
    concurrency: int = 8
    """Rows of a round."""
    update: Literal["per_prompt", "per_round"] = "per_prompt"


@dataclass(frozen=True)
class _Place:
    """Where a run is at a round's end."""

    round: int = 0
    epoch: int = 0
    cursor: int = 0
    """Rows of this epoch that were learnt from."""
    done: bool = False


def offline(
    examples: Sequence[Example],
    policy: Learning,
    config: OfflineConfig,
    evaluate: Evaluate,
    state: State | None = None,
) -> Iterator[Event]:
    """Learn from the examples, one event at a time.

    Args:
        examples: the rows, in the dataset's order; their `step` must differ.
        policy: the model, at the weights of the state's round.
        config: the knobs.
        evaluate: yields what is measured before and after.
        state: the state of a `RoundEnded` of the same run; the events after it follow, the same.
    """
    if state is None:
        yield from evaluate("before")
        place = _Place()
        yield _ended(place, policy)
    else:
        place = _from_state(state)
    while place.epoch < config.epochs:
        place = yield from _round(examples, policy, config, place)
        yield _ended(place, policy)
    if not place.done:
        yield from evaluate("after")
        yield _ended(replace(place, round=place.round + 1, done=True), policy)


def _round(
    examples: Sequence[Example], policy: Learning, config: OfflineConfig, before: _Place
) -> Generator[Event, None, _Place]:
    yield Phase("learning")
    order = permutation(config.seed, At(STAGE, 0, before.epoch), len(examples), "epoch")
    chosen = order[before.cursor : before.cursor + config.concurrency]
    round_ = before.round + 1
    size = len(chosen) if config.update == "per_round" else 1
    last = before.epoch + 1 == config.epochs
    for start in range(0, len(chosen), size):
        some = [examples[place] for place in chosen[start : start + size]]
        rankings = [in_order(example) for example in some]
        for example, ranking, learned in zip(some, rankings, policy.learn(rankings), strict=True):
            at = At(STAGE, example.prompt.step, before.epoch)
            yield Taught(at, round_, ranking, learned, last=last)
    cursor = before.cursor + len(chosen)
    if cursor < len(examples):
        return replace(before, round=round_, cursor=cursor)
    return _Place(round_, before.epoch + 1)


def _ended(place: _Place, policy: Learning) -> RoundEnded:
    return RoundEnded(place.round, policy.version, asdict(place), done=place.done)


def _from_state(state: State) -> _Place:
    """Read it back.

    Raises:
        KeyError, TypeError, ValueError: the state is not of this method.
    """
    data: Any = dict(state)
    numbers = {name: int(data[name]) for name in ("round", "epoch", "cursor")}
    return _Place(**numbers, done=bool(data["done"]))
