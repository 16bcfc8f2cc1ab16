"""Lanes: the prompts in flight, each with its own iteration counter and demonstrations.

The paper works on one prompt at a time and names that as its limitation; one lane is its loop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from worker.cycle.demos import from_json, to_json
from worker.cycle.ports import State
from worker.cycle.types import Demonstration, Prompt, Sample


@dataclass(frozen=True)
class Lane:
    """A prompt in flight: the iteration it is about to turn, and what its step has shown so far."""

    prompt: Prompt
    iteration: int = 0
    demonstrations: tuple[Demonstration, ...] = ()

    def turned(self, added: Demonstration | None) -> "Lane":
        """The lane as its next iteration finds it."""
        shown = self.demonstrations if added is None else (*self.demonstrations, added)
        return Lane(self.prompt, self.iteration + 1, shown)


@dataclass(frozen=True)
class Sampled:
    """A lane with responses that the next round learns from: the stale cohort of a slow judge."""

    lane: Lane
    samples: tuple[Sample, ...]
    beliefs: Mapping[int, float]
    """By index of the sample, in nats, under the weights that sampled."""


@dataclass(frozen=True)
class Progress:
    """Where a run is at a round's end; round 0 ends before the first lane turns."""

    round: int = 0
    cursor: int = 0
    """How many prompts have entered a lane."""
    lanes: tuple[Lane, ...] = ()
    """The unfinished lanes that are to be sampled, in the order of their prompts."""
    sampled: tuple[Sampled, ...] = ()
    """The lanes that are sampled and not learnt from, in the order in which they will be."""
    done: bool = False

    def refilled(self, prompts: Sequence[Prompt], lanes: int) -> "Progress":
        """Give the free ones of so many lanes the next prompts; the order of prompts is kept."""
        fresh = prompts[self.cursor : self.cursor + lanes - len(self.lanes)]
        entered = (*self.lanes, *map(Lane, fresh))
        return replace(self, cursor=self.cursor + len(fresh), lanes=entered)

    def to_state(self) -> State:
        """Write this as JSON; the prompts themselves stay outside."""
        return {
            "round": self.round,
            "cursor": self.cursor,
            "lanes": [_lane_to_json(lane) for lane in self.lanes],
            "sampled": [_sampled_to_json(cohort) for cohort in self.sampled],
            "done": self.done,
        }


def from_state(state: State, prompts: Sequence[Prompt]) -> Progress:
    """Read what `to_state` wrote, over the same prompts.

    Raises:
        KeyError, TypeError, ValueError: the state is not of this method or these prompts.
    """
    data: Any = dict(state)
    by_step = {prompt.step: prompt for prompt in prompts}
    lanes = tuple(_lane_from_json(lane, by_step) for lane in data["lanes"])
    return Progress(
        int(data["round"]),
        int(data["cursor"]),
        lanes,
        tuple(_sampled_from_json(cohort, by_step) for cohort in data["sampled"]),
        done=bool(data["done"]),
    )


def _lane_to_json(lane: Lane) -> dict[str, object]:
    return {
        "step": lane.prompt.step,
        "iteration": lane.iteration,
        "demonstrations": [to_json(shown) for shown in lane.demonstrations],
    }


def _lane_from_json(data: Any, by_step: dict[int, Prompt]) -> Lane:
    shown = tuple(from_json(demonstration) for demonstration in data["demonstrations"])
    return Lane(by_step[data["step"]], int(data["iteration"]), shown)


def _sampled_to_json(sampled: Sampled) -> dict[str, object]:
    return {
        "lane": _lane_to_json(sampled.lane),
        "samples": [asdict(sample) for sample in sampled.samples],
        "beliefs": [[k, belief] for k, belief in sampled.beliefs.items()],
    }


def _sampled_from_json(data: Any, by_step: dict[int, Prompt]) -> Sampled:
    return Sampled(
        _lane_from_json(data["lane"], by_step),
        tuple(Sample(**{**one, "tokens": tuple(one["tokens"])}) for one in data["samples"]),
        {int(k): float(belief) for k, belief in data["beliefs"]},
    )
