"""Tiny models on disk, made once, and policies over fresh copies of them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny import tiny_model_folder
from worker.cycle.ports import SampleRequest
from worker.cycle.types import Learned, Message, Prompt, Sample, TrainingRanking
from worker.objectives.pro import Pro
from worker.whitebox.load import FolderModel
from worker.whitebox.opening import Learning, make_trainable, open_speaker
from worker.whitebox.policy import Speaker, WhiteBox
from worker.whitebox.sample import Generation
from worker.whitebox.schedule import OptimizerConfig
from worker.whitebox.tuning import LoraTuning, Tuning

GENERATION = Generation(max_new_tokens=24, max_length=200)
LORA = LoraTuning(rank=4, alpha=8.0)
ADAMW = OptimizerConfig(lr=1e-2)


def ask(text: str, step: int = 0) -> Prompt:
    return Prompt(step, (Message("user", text),))


def sampled(speaker: Speaker | WhiteBox, *requests: SampleRequest) -> list[list[Sample]]:
    """The samples of each request, in the order of requests."""
    found = dict(speaker.sample(requests))
    return [found[i] for i in range(len(requests))]


def taught(policy: WhiteBox, ranking: TrainingRanking) -> Learned:
    """One step on one ranking."""
    [learned] = policy.learn([ranking])
    return learned


def lesson(prompt: Prompt, *texts: str) -> TrainingRanking:
    """The texts best to worst, as a teacher would write them."""
    groups = tuple((k,) for k in range(len(texts)))
    return TrainingRanking(prompt, texts, (None,) * len(texts), groups, target=0)


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("chat"), chat_template=True)


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("base"), chat_template=False)


@pytest.fixture
def speaker(chat_model: Path) -> Speaker:
    return open_speaker(FolderModel(chat_model), GENERATION)


@pytest.fixture
def make_policy(chat_model: Path) -> Callable[..., WhiteBox]:
    def make(
        tuning: Tuning = LORA,
        optimizer: OptimizerConfig = ADAMW,
        generation: Generation = GENERATION,
        learning: Learning | None = None,
    ) -> WhiteBox:
        fresh = open_speaker(FolderModel(chat_model), generation)
        return make_trainable(
            fresh, tuning, Pro(), optimizer, total_updates=10, seed=1, learning=learning
        )

    return make
