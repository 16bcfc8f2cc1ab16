"""Which fields a job on given responses has no use for; they are refused."""

from collections.abc import Iterator

from app.core.errors import FaultAt
from app.core.spec.job import JobSpec
from app.core.spec.method import RewardModel
from app.services.consistency import explicit, inconsistent


def offline_faults(spec: JobSpec) -> Iterator[FaultAt]:
    """Yield what could have no effect, or cannot be done."""
    name = spec.method.type
    if spec.preset is not None:
        yield inconsistent(("preset",), f"'preset' is of 'cyclealign'; {name!r} has none.")
    if explicit(spec, ("demonstrations",)):
        yield inconsistent(
            ("demonstrations",), f"'demonstrations' could have no effect: {name!r} asks no judge."
        )
    if explicit(spec, ("health",)):
        yield inconsistent(
            ("health",), f"'health' watches sampled answers, and {name!r} samples none."
        )
    if spec.judge is not None and spec.held_out is None:
        yield inconsistent(
            ("judge",), f"{name!r} asks a judge for the scores of 'held_out' alone. Leave it out."
        )
    if spec.judge is not None and spec.judge.orders > 1:
        yield inconsistent(
            ("judge", "orders"), f"'judge.orders' could have no effect: {name!r} asks no rankings."
        )
    if isinstance(spec.method, RewardModel):
        yield from _reward_faults(spec)


def _reward_faults(spec: JobSpec) -> Iterator[FaultAt]:
    if spec.held_out is not None:
        yield inconsistent(
            ("held_out",),
            "A reward model answers no prompts; 'method.validation_share' holds pairs out.",
        )
    if spec.engine.zero is not None:
        yield inconsistent(("engine", "zero"), "Reward models are trained on one rank.")
