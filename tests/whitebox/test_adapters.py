"""Adapters that training begins with: read from a checkpoint, trained on, and compared with."""

import math
from pathlib import Path

import pytest
import torch

from tests.whitebox.conftest import ADAMW, GENERATION, ask, lesson, sampled, taught
from worker.cycle.ports import Answers, SampleRequest
from worker.objectives.dpo import Dpo
from worker.objectives.pro import Pro
from worker.objectives.reward import PairwiseLogistic
from worker.objectives.types import Objective
from worker.whitebox.checkpoint import load_training_state, save_checkpoint
from worker.whitebox.errors import StateMismatch
from worker.whitebox.frozen import LAYOUTS, Layout
from worker.whitebox.load import FolderModel
from worker.whitebox.opening import (
    Learning,
    make_reward_trainable,
    make_trainable,
    open_speaker,
)
from worker.whitebox.policy import WhiteBox
from worker.whitebox.tuning import LoraTuning

PROMPT = ask("Name a colour.")
RANKING = lesson(PROMPT, "Green is one.", "I would rather not say that.")
ASKED = SampleRequest(PROMPT, (1, 2, 3))
FILE = "adapter/adapter_model.safetensors"


def policy(
    folder: Path,
    start: Path | None = None,
    objective: Objective | None = None,
    learning: Learning | None = None,
) -> WhiteBox:
    return make_trainable(
        open_speaker(FolderModel(folder), GENERATION),
        LoraTuning(4, 8.0, start and start / "adapter"),
        objective or Pro(),
        ADAMW,
        total_updates=10,
        seed=1,
        learning=learning,
    )


@pytest.fixture
def trained(chat_model: Path, tmp_path: Path) -> Path:
    """A checkpoint after three updates."""
    teacher = policy(chat_model)
    for _ in range(3):
        taught(teacher, RANKING)
    save_checkpoint(teacher, tmp_path / "trained", base_model="tiny", merged=True)
    return tmp_path / "trained"


def values(trained: WhiteBox) -> list[float]:
    return trained.values([RANKING])[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_policy_begins_as_the_checkpoint_was(
    layout: Layout, chat_model: Path, trained: Path, tmp_path: Path
) -> None:
    learning = Learning(layout=layout)
    begun = policy(chat_model, trained, learning=learning)
    merged = policy(trained / "merged", learning=learning)
    assert begun.version == 0
    assert values(begun) == pytest.approx(values(merged), abs=1e-5)
    assert values(begun) != pytest.approx(values(policy(chat_model)), abs=1e-2)
    assert [s.text for s in sampled(begun, ASKED)[0]] == [s.text for s in sampled(merged, ASKED)[0]]
    save_checkpoint(begun, tmp_path / "begun", base_model="tiny")
    assert (tmp_path / "begun" / FILE).read_bytes() == (trained / FILE).read_bytes()


def test_it_learns_as_much_as_any_policy_and_exports_one_adapter(
    chat_model: Path, trained: Path, tmp_path: Path
) -> None:
    begun, fresh = policy(chat_model, trained), policy(chat_model)
    shapes = [{n: p.shape for n, p in one.learner.parameters.items()} for one in (begun, fresh)]
    assert shapes[0] == shapes[1]
    before = values(begun)
    taught(begun, RANKING)
    assert values(begun) != pytest.approx(before, abs=1e-3)
    save_checkpoint(begun, tmp_path / "on", base_model="tiny", merged=True)
    assert values(policy(chat_model, tmp_path / "on")) == pytest.approx(values(begun), abs=1e-5)
    assert values(policy(tmp_path / "on" / "merged")) == pytest.approx(values(begun), abs=1e-4)


def test_its_distance_is_from_where_it_began(chat_model: Path, trained: Path) -> None:
    begun = policy(chat_model, trained)
    [samples] = sampled(begun, ASKED)
    assert begun.distance(Answers(PROMPT, tuple(samples))) == pytest.approx(0, abs=1e-4)
    for _ in range(3):
        taught(begun, RANKING)
    [samples] = sampled(begun, ASKED)
    assert begun.distance(Answers(PROMPT, tuple(samples))) != pytest.approx(0, abs=1e-2)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_dpo_compares_with_where_it_began_resumed_or_not(
    layout: Layout, chat_model: Path, trained: Path, tmp_path: Path
) -> None:
    learning = Learning(layout=layout)
    begun, resumed = (policy(chat_model, trained, Dpo(), learning) for _ in range(2))
    assert taught(begun, RANKING).loss == pytest.approx(math.log(2), abs=1e-5)
    save_checkpoint(begun, tmp_path / "one", base_model="tiny")
    load_training_state(resumed, tmp_path / "one")
    assert taught(resumed, RANKING) == taught(begun, RANKING)
    for name, weight in begun.learner.parameters.items():
        assert torch.equal(weight, resumed.learner.parameters[name]), name


def test_a_reward_model_can_begin_with_a_policys_adapters(chat_model: Path, trained: Path) -> None:
    def rewards(start: Path | None) -> list[float]:
        speaker = open_speaker(FolderModel(chat_model), GENERATION)
        tuning = LoraTuning(4, 8.0, start)
        learner = make_reward_trainable(
            speaker, tuning, PairwiseLogistic(), ADAMW, total_updates=10, seed=1
        )
        return learner.values([RANKING])[0]

    assert rewards(trained / "adapter") != pytest.approx(rewards(None), abs=1e-3)


def test_adapters_of_another_rank_are_refused(
    chat_model: Path, trained: Path, tmp_path: Path
) -> None:
    speaker = open_speaker(FolderModel(chat_model), GENERATION)
    wrong = LoraTuning(2, 8.0, trained / "adapter")
    with pytest.raises(StateMismatch, match="not of this model and rank"):
        make_trainable(speaker, wrong, Pro(), ADAMW, total_updates=1)
