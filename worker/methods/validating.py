"""Rows that train nothing, valued before and after training: what a reward model is measured on."""

from collections.abc import Iterator, Sequence
from typing import Literal

from worker.cycle.events import Event, Phase, Valued
from worker.cycle.ports import Valuing
from worker.cycle.ranking import flatten
from worker.cycle.training import in_order
from worker.cycle.types import At, Example

BATCH = 64


def validate(
    examples: Sequence[Example], model: Valuing, when: Literal["before", "after"]
) -> Iterator[Event]:
    """Value the responses of every row, in the row's own order."""
    yield Phase("evaluating")
    for start in range(0, len(examples), BATCH):
        some = examples[start : start + BATCH]
        for example, values in zip(some, model.values([*map(in_order, some)]), strict=True):
            by_place = dict(zip(flatten(example.ranking), values, strict=True))
            at = At(f"validation_{when}", example.prompt.step, 0)
            yield Valued(at, tuple(by_place[k] for k in range(len(example.responses))))
