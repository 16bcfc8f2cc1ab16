"""The start model: what an objective compares with stays as it was while the model learns."""

import math
from pathlib import Path

import pytest

from tests.whitebox.conftest import GENERATION, LORA, ask, lesson, taught
from worker.objectives.dpo import Dpo
from worker.whitebox.frozen import LAYOUTS, Layout
from worker.whitebox.load import FolderModel
from worker.whitebox.opening import Learning, make_trainable, open_speaker
from worker.whitebox.policy import WhiteBox
from worker.whitebox.schedule import OptimizerConfig
from worker.whitebox.tuning import FullTuning, Tuning

RANKING = lesson(ask("Name a colour."), "Green is one.", "I would rather not say that.")


def policy(folder: Path, tuning: Tuning, learning: Learning | None = None) -> WhiteBox:
    return make_trainable(
        open_speaker(FolderModel(folder), GENERATION),
        tuning,
        Dpo(),
        OptimizerConfig(lr=1e-2 if tuning == LORA else 1e-3),
        total_updates=10,
        seed=1,
        learning=learning,
    )


@pytest.mark.parametrize("tuning", [LORA, FullTuning()])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_dpo_begins_knowing_nothing_and_learns_the_order(
    tuning: Tuning, layout: Layout, chat_model: Path
) -> None:
    trained = policy(chat_model, tuning, Learning(layout=layout))
    losses = [taught(trained, RANKING).loss for _ in range(6)]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert losses[-1] < losses[0] - 0.05


@pytest.mark.parametrize("tuning", [LORA, FullTuning()])
def test_the_start_model_does_not_move(tuning: Tuning, chat_model: Path) -> None:
    trained = policy(chat_model, tuning)
    learner, texts = trained.learner, trained.lesson(RANKING).texts
    assert learner.start is not None
    before = learner.start.values(learner.scorer, [texts])
    assert before == [pytest.approx(trained.values([RANKING])[0], abs=1e-6)]
    for _ in range(3):
        trained.learn([RANKING])
    assert learner.start.values(learner.scorer, [texts]) == before
    assert trained.values([RANKING])[0] != pytest.approx(before[0], abs=1e-3)


def test_learning_in_parts_compares_with_the_same_start(chat_model: Path) -> None:
    whole, parts = (policy(chat_model, LORA, Learning(batch_tokens=n)) for n in (10_000, 40))
    for _ in range(3):
        one, other = taught(whole, RANKING), taught(parts, RANKING)
        assert other.loss == pytest.approx(one.loss, abs=1e-4)
