"""One lane over a real model is the paper's serial loop, bit for bit."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import tiny_model_folder
from tests.unit.methods.reference import Turned, reference
from worker.blackbox.asking import rank
from worker.blackbox.rubric import RubricBox
from worker.blackbox.types import Request
from worker.cycle.demonstration import BUILT_IN
from worker.cycle.events import Event, Iterated
from worker.cycle.ports import Answered, Pending
from worker.cycle.types import At, Message, Prompt, Question, Reply, Verdict
from worker.methods.cyclealign import CycleConfig, cyclealign
from worker.objectives.pro import Pro
from worker.objectives.rrhf import Rrhf
from worker.objectives.types import Objective
from worker.whitebox.load import FolderModel
from worker.whitebox.opening import make_trainable, open_speaker
from worker.whitebox.policy import WhiteBox
from worker.whitebox.sample import Generation
from worker.whitebox.schedule import OptimizerConfig
from worker.whitebox.tuning import LoraTuning

PROMPTS = [
    Prompt(step, (Message("user", text),))
    for step, text in enumerate(["How do I boil an egg?", "Why is the sky blue?", "Say hello."])
]

MANY = [Prompt(step, (Message("user", f"Question {step}: {'why ' * step}?"),)) for step in range(7)]


class DirectJudge:
    """The rubric, asked without a ledger."""

    traits = RubricBox.traits

    def submit(self, at: At, question: Question) -> Pending:
        def ask(_: At, request: Request, __: Question) -> Reply:
            return RubricBox().ask(request)

        return Answered(rank(RubricBox(), at, question, ask))


def policy(folder: Path, objective: Objective) -> WhiteBox:
    speaker = open_speaker(FolderModel(folder), Generation(max_new_tokens=16, max_length=200))
    config = OptimizerConfig(lr=1e-2)
    return make_trainable(speaker, LoraTuning(4, 8.0), objective, config, total_updates=99, seed=3)


def turned(events: list[Event]) -> list[Turned]:
    return [
        Turned(e.at, e.question, e.white, e.black, e.training, e.learned)
        for e in events
        if isinstance(e, Iterated) and e.question is not None and e.black is not None
    ]


class SlowJudge(DirectJudge):
    """Takes a random time for each answer, from threads."""

    def __init__(self, seed: int) -> None:
        self.draw, self.threads = random.Random(seed), ThreadPoolExecutor(8)

    def submit(self, at: At, question: Question) -> Pending:
        seconds = self.draw.random() / 10

        def answer() -> Verdict:
            time.sleep(seconds)
            return super(SlowJudge, self).submit(at, question).result()

        return self.threads.submit(answer)


@pytest.mark.parametrize("staleness", [0, 1])
@pytest.mark.parametrize("update", ["per_prompt", "per_round"])
def test_many_lanes_come_to_the_same_bits_whatever_the_judges_latency(
    update: Any, staleness: Any, tmp_path: Path
) -> None:
    folder = tiny_model_folder(tmp_path / "model", chat_template=True)
    config = CycleConfig(
        seed=5, iterations=3, candidates=3, concurrency=4, update=update, staleness=staleness
    )
    runs = []
    for seed in (1, 2):
        box = policy(folder, Pro())
        runs.append((list(cyclealign(MANY, (), (), box, SlowJudge(seed), config)), box))
    (events, ours), (again, theirs) = runs
    assert events == again
    assert ours.version == theirs.version > 2
    for name, weight in ours.learner.parameters.items():
        assert torch.equal(weight, theirs.learner.parameters[name]), name


@pytest.mark.parametrize("objective", [Pro(), Rrhf()], ids=["pro", "rrhf"])
@pytest.mark.parametrize("belief", ["sampling", "scoring"])
def test_one_lane_equals_the_reference_loop_in_every_weight(
    objective: Objective, belief: str, tmp_path: Path
) -> None:
    folder = tiny_model_folder(tmp_path / "model", chat_template=True)
    ours, theirs = policy(folder, objective), policy(folder, objective)
    scoring = belief == "scoring"
    config = CycleConfig(
        seed=11, iterations=3, candidates=3, belief="scoring" if scoring else "sampling"
    )
    events = list(cyclealign(PROMPTS, (BUILT_IN,), (), ours, DirectJudge(), config))
    expected = reference(
        PROMPTS,
        (BUILT_IN,),
        theirs,
        DirectJudge(),
        seed=11,
        iterations=3,
        candidates=3,
        scoring=scoring,
    )
    assert turned(events) == expected
    assert ours.version == theirs.version > 0
    for name, weight in ours.learner.parameters.items():
        assert torch.equal(weight, theirs.learner.parameters[name]), name
