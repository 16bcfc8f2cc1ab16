"""A run's policy on ranks of its own, as a program: DeepSpeed wants a process for itself."""

import dataclasses
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from app.core.spec.job import JobSpec
from tests.whitebox.conftest import ask, lesson, sampled
from worker.cycle.ports import Answers, SampleRequest
from worker.cycle.types import Learned
from worker.rank import Order, open_policy
from worker.whitebox.checkpoint import load_training_state, save_checkpoint
from worker.whitebox.errors import NonFiniteLoss
from worker.whitebox.policy import WhiteBox
from worker.whitebox.stepper import State

ASKED = [
    SampleRequest(ask("Name a colour."), (1, 2, 3)),
    SampleRequest(ask("And a number?"), (4, 5, 6)),
    SampleRequest(ask("Why?"), (7, 8)),
]
LESSONS = [
    lesson(ask("Name a colour."), "Green is one.", "No", "I would rather not say that."),
    lesson(ask("And a number?"), "Seven.", "Blue, I think.", "Never.", "Eight"),
    lesson(ask("Hm"), "One response, and a rank without any."),
]
TUNINGS = {"lora": {"type": "lora", "rank": 4, "alpha": 8.0}, "full": {"type": "full"}}


@contextmanager
def opened(
    folder: Path, tuning: str, engine: dict[str, Any], start: Path | None = None
) -> Iterator[WhiteBox]:
    """The policy of a job with these settings of the engine; no weight is too small to be cut."""
    spec = JobSpec.model_validate(
        {
            "model": {"name": "tiny", "tuning": TUNINGS[tuning]},
            "judge": {"name": "rubric"},
            "prompts": {"dataset": f"ds_{'0' * 26}"},
            "method": {"type": "cyclealign", "iterations": 2, "candidates": 3},
            "generation": {"max_new_tokens": 24, "max_length": 200},
            "optimizer": {"lr": 0.01, "schedule": "linear"},
            "engine": engine,
        }
    )
    resolved = spec.model_dump(mode="json", by_alias=True)
    resolved["method"]["teacher"] = True
    entry = {"source": {"type": "folder", "path": str(folder)}}
    begun = None if start is None else str(start)
    cache = str(folder / "cache")
    order = Order(resolved, entry, steps=6, cache=cache, start=begun, threads=1, kept_whole=0)
    with open_policy(order) as policy:
        yield policy


def first_round(policy: WhiteBox) -> dict[str, Any]:
    """Sample, score and learn: what a round reports."""
    samples = sampled(policy, *ASKED)
    answers = [Answers(r.prompt, tuple(own)) for r, own in zip(ASKED, samples, strict=True)]
    scores = policy.score(answers)
    policy.foresee(answers[0])
    apart = [policy.learn([one])[0] for one in LESSONS]
    return {
        "tokens": [[list(sample.tokens) for sample in own] for own in samples],
        "logprobs": [sample.logprob for own in samples for sample in own],
        "scores": [score for own in scores for score in own],
        "learned": [told(one) for one in [*apart, *policy.learn(LESSONS)]],
    }


def told(learned: Learned) -> dict[str, Any]:
    """A step as JSON."""
    return dataclasses.asdict(learned)


def save(policy: WhiteBox, folder: Path) -> None:
    """Save in every form."""
    save_checkpoint(policy, folder, base_model="tiny", merged=True)


def next_step(policy: WhiteBox) -> dict[str, Any]:
    """Take one more step."""
    return told(policy.learn([LESSONS[1]])[0])


def refused(policy: WhiteBox, first_factors: float) -> str | None:
    """Why no step is taken with such adapters; None if it is, or changes anything else."""
    with policy.learner.stepper.snapshot() as state:
        weights = {
            name: torch.full_like(w, 0.0 if "lora_B" in name else first_factors)
            for name, w in state.weights.items()
        }
        before = State(weights, {name: moment.clone() for name, moment in state.moments.items()})
    policy.learner.stepper.restore(before)
    version = policy.version
    try:
        policy.learn([LESSONS[0]])
    except NonFiniteLoss as error:
        same = policy.version == version and unchanged(policy, before)
        return str(error) if same else None
    return None


def unchanged(policy: WhiteBox, before: State) -> bool:
    """Whether weights, where they are numbers, and moments are as they were."""
    with policy.learner.stepper.snapshot() as now:
        pairs = [(now.weights[name], w) for name, w in before.weights.items()]
        pairs += [(now.moments[name], m) for name, m in before.moments.items()]
        return all(torch.equal(ours.nan_to_num(), theirs.nan_to_num()) for ours, theirs in pairs)


def main(wish: dict[str, Any]) -> None:
    """Do a round and save; go on, then from a state of others, then from nonsense."""
    out = Path(wish["out"])
    start = Path(wish["start"]) if "start" in wish else None
    with opened(Path(wish["model"]), wish["tuning"], wish["engine"], start) as policy:
        found = first_round(policy)
        save(policy, out)
        found["next"] = next_step(policy)
        load_training_state(policy, Path(wish["state"]))
        found["resumed"] = next_step(policy)
        found["no_loss"] = refused(policy, float("nan"))
        found["no_gradient"] = refused(policy, 3e36) if wish["tuning"] == "lora" else None
    (out / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
