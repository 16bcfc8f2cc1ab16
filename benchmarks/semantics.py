"""Do many lanes learn what one lane learns? The same jobs with `K` lanes and with one, over seeds.

`python -m benchmarks.semantics` trains a small random model towards a taste in letters, in place
and without waiting, and compares iterations to agreement and held-out scores, seed by seed.
"""

import argparse
import json
import math
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import ClassVar

import torch

from benchmarks.measure import machine
from benchmarks.models import build
from benchmarks.prompts import synthetic
from worker.cycle.events import Iterated, Scored, StepEnded
from worker.cycle.ports import Answered, Pending, Traits
from worker.cycle.ranking import from_scores
from worker.cycle.types import At, Prompt, Question, Ranked
from worker.methods.cyclealign import CycleConfig, cyclealign
from worker.objectives.pro import Pro
from worker.whitebox.opening import make_speaker, make_trainable
from worker.whitebox.policy import WhiteBox
from worker.whitebox.sample import Generation
from worker.whitebox.schedule import OptimizerConfig
from worker.whitebox.tuning import FullTuning

STUDENT_T = {2: 6.314, 3: 2.920, 4: 2.353, 5: 2.132, 6: 2.015, 7: 1.943, 8: 1.895, 10: 1.833}
"""Two-sided 90 % by the number of seeds."""
EARLY = frozenset("abcdefghijklm")
RESPONSE, PROMPT, ITERATIONS = 16, 48, 5


@dataclass(frozen=True)
class Taste:
    """Likes letters of the alphabet's first half; answers in place."""

    traits: ClassVar[Traits] = Traits(
        reads_demonstrations=False, writes_response=False, gives_ties=True, gives_scores=True
    )

    def submit(self, at: At, question: Question) -> Pending:
        """Score every response by its letters."""
        del at
        scores = tuple(map(_share, question.responses))
        return Answered(Ranked(from_scores(dict(enumerate(scores))), scores=scores))


def _share(text: str) -> float:
    letters = [letter for letter in text if letter.isalpha()]
    return sum(letter in EARLY for letter in letters) / max(1, len(letters))


@dataclass(frozen=True)
class Learnt:
    """What one run came to."""

    lanes: int
    seed: int
    iterations: float
    """Mean iterations to agreement; a prompt that never agreed counts with its last."""
    agreed: float
    before: float
    after: float
    spread: float
    """Standard deviation of the final held-out scores."""
    updates: int


def learn(lanes: int, seed: int, prompts: int, lr: float, staleness: int = 0) -> Learnt:
    """Run one job of `prompts` prompts."""
    policy, all_prompts = _policy(seed, prompts, lr)
    config = CycleConfig(
        seed=seed,
        iterations=ITERATIONS,
        candidates=3,
        concurrency=lanes,
        staleness=1 if staleness else 0,
        held_out_samples=4,
    )
    aligned, held_out = all_prompts[:prompts], all_prompts[prompts:]
    events = list(cyclealign(aligned, (), held_out, policy, Taste(), config))
    ends = [event for event in events if isinstance(event, StepEnded)]
    scores = {
        when: [s for e in events if isinstance(e, Scored) and when in e.at.stage for s in e.scores]
        for when in ("before", "after")
    }
    return Learnt(
        lanes,
        seed,
        mean(end.iterations for end in ends),
        mean(end.agreed for end in ends),
        mean(scores["before"]),
        mean(scores["after"]),
        stdev(scores["after"]),
        sum(isinstance(event, Iterated) and event.learned is not None for event in events),
    )


def _policy(seed: int, prompts: int, lr: float) -> tuple[WhiteBox, list[Prompt]]:
    model, tokenizer = build("1m", seed=seed)
    generation = Generation(max_new_tokens=RESPONSE, max_length=PROMPT + RESPONSE)
    speaker = make_speaker(model, tokenizer, generation)
    policy = make_trainable(
        speaker, FullTuning(), Pro(0.05), OptimizerConfig(lr=lr), total_updates=1, seed=seed
    )
    return policy, synthetic(tokenizer, prompts + 64, PROMPT, seed)


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """The 90 % interval of a mean, by Student's t."""
    half = STUDENT_T[len(differences)] * stdev(differences) / math.sqrt(len(differences))
    return mean(differences) - half, mean(differences) + half


def compared(pairs: Sequence[tuple[Learnt, Learnt]]) -> dict[str, tuple[float, float]]:
    """Many lanes minus one: iterations as a share, scores in standard deviations."""
    return {
        "iterations": interval(
            [(k.iterations - one.iterations) / one.iterations for k, one in pairs]
        ),
        "score": interval([(k.after - one.after) / one.spread for k, one in pairs]),
    }


def _in_processes(jobs: Sequence[tuple[int, int, int, float, int]], count: int) -> Iterator[Learnt]:
    """Each job in one thread; results in the order of the jobs."""
    with ProcessPoolExecutor(
        count,
        multiprocessing.get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(1,),
    ) as pool:
        yield from pool.map(learn, *zip(*jobs, strict=True))


def main() -> None:
    """Run all seeds and write the figures."""
    parser = argparse.ArgumentParser(description="Many lanes beside one lane, over seeds.")
    parser.add_argument("--lanes", type=int, default=16)
    parser.add_argument("--staleness", type=int, choices=[0, 1], default=0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=640)
    parser.add_argument("--lr", type=float, default=1.2e-4)
    parser.add_argument("--processes", type=int, default=2, help="one thread each")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--name", default="semantics")
    given = parser.parse_args()
    jobs = [
        (lanes, seed, given.prompts, given.lr, staleness)
        for seed in range(given.seeds)
        for lanes, staleness in ((given.lanes, given.staleness), (1, 0))
    ]
    runs = []
    for run in _in_processes(jobs, given.processes):
        print(run, flush=True)
        runs.append(run)
    pairs = list(zip(runs[::2], runs[1::2], strict=True))
    found = {"machine": machine(), "lr": given.lr, "prompts": given.prompts}
    found |= {"runs": [[vars(one) for one in pair] for pair in pairs]}
    found |= {"intervals_90": compared(pairs)}
    print(found["intervals_90"])
    (given.out / f"{given.name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
