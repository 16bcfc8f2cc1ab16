"""Reward models: what they read, that they learn, and that what they save loads elsewhere."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.whitebox.conftest import ask, lesson
from worker.objectives.reward import PairwiseLogistic
from worker.whitebox.checkpoint import load_training_state, save_checkpoint
from worker.whitebox.load import FolderModel
from worker.whitebox.opening import Learning, make_reward_trainable, open_speaker
from worker.whitebox.policy import WhiteBox
from worker.whitebox.rewarder import open_rewarder
from worker.whitebox.sample import Generation
from worker.whitebox.schedule import OptimizerConfig
from worker.whitebox.tuning import FullTuning, LoraTuning, Tuning

GENERATION = Generation(max_new_tokens=32, max_length=256)
QUESTION = ask("Is rain wet?")


def reward_model(folder: Path, tuning: Tuning, learning: Learning | None = None) -> WhiteBox:
    return make_reward_trainable(
        open_speaker(FolderModel(folder), GENERATION),
        tuning,
        PairwiseLogistic(),
        OptimizerConfig(lr=0.01),
        total_updates=100,
        seed=3,
        learning=learning,
    )


PAIR = lesson(QUESTION, "Yes, it is.", "No")


@pytest.mark.parametrize("tuning", [LoraTuning(4, 8.0), FullTuning()])
def test_it_learns_to_prefer_the_better(tuning: Tuning, chat_model: Path) -> None:
    model = reward_model(chat_model, tuning)
    losses = [model.learn([PAIR])[0].loss for _ in range(8)]
    assert losses[-1] < losses[0] / 2
    [[better, worse]] = model.values([PAIR])
    assert better > worse


def test_a_shared_prompt_changes_no_reward(chat_model: Path) -> None:
    plain, shared = (
        reward_model(chat_model, LoraTuning(4, 8.0), Learning(shared_prompt=how))
        for how in ("off", "on")
    )
    assert plain.values([PAIR])[0] == pytest.approx(shared.values([PAIR])[0], abs=1e-5)


def test_batch_mates_change_no_reward(chat_model: Path) -> None:
    model = reward_model(chat_model, LoraTuning(4, 8.0))
    longer = lesson(QUESTION, "Yes, it is, and that is why one takes an umbrella.", "Perhaps")
    alone = [model.values([one])[0] for one in (PAIR, longer)]
    together = model.values([PAIR, longer])
    assert together[0] == pytest.approx(alone[0], abs=1e-5)
    assert together[1] == pytest.approx(alone[1], abs=1e-5)


@pytest.mark.parametrize("tuning", [LoraTuning(4, 8.0), FullTuning()])
def test_the_library_gives_the_same_reward_from_what_was_saved(
    tuning: Tuning, chat_model: Path, tmp_path: Path
) -> None:
    """The library's own model reads the score at the last token that is not padding."""
    model = reward_model(chat_model, tuning)
    for _ in range(3):
        model.learn([PAIR])
    save_checkpoint(model, tmp_path, base_model="tiny", adapter=False, merged=True)
    library = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    texts = model.lesson(PAIR).texts
    with torch.no_grad():
        theirs = [
            library(torch.tensor([texts.prompt + response])).logits.item()
            for response in texts.responses
        ]
    assert model.values([PAIR])[0] == pytest.approx(theirs, abs=1e-5)
    assert tokenizer.chat_template


def test_a_saved_one_scores_texts(chat_model: Path, tmp_path: Path) -> None:
    model = reward_model(chat_model, LoraTuning(4, 8.0))
    model.learn([PAIR])
    save_checkpoint(model, tmp_path, base_model="tiny", adapter=False, merged=True)
    rewarder = open_rewarder(FolderModel(tmp_path / "merged"), GENERATION)
    rewards, tokens = rewarder.rewards(QUESTION.messages, PAIR.texts)
    assert rewards == pytest.approx(model.values([PAIR])[0], abs=1e-5)
    assert tokens == model.lesson(PAIR).texts.together


def test_training_goes_on_from_its_state(chat_model: Path, tmp_path: Path) -> None:
    unbroken, begun, resumed = (reward_model(chat_model, LoraTuning(4, 8.0)) for _ in range(3))
    for _ in range(4):
        unbroken.learn([PAIR])
    for _ in range(2):
        begun.learn([PAIR])
    save_checkpoint(begun, tmp_path, base_model="tiny", adapter=False)
    load_training_state(resumed, tmp_path)
    for _ in range(2):
        resumed.learn([PAIR])
    assert resumed.values([PAIR]) == unbroken.values([PAIR])


def test_it_does_not_speak(chat_model: Path) -> None:
    model = reward_model(chat_model, LoraTuning(4, 8.0))
    with pytest.raises(TypeError, match="does not sample"):
        model.speaker.sampler.sample([], 0)
