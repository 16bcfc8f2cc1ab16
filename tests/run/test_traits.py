"""What the API says of a judge is what the worker's judge says of itself."""

from dataclasses import asdict

from app.services.catalogue import TRAITS
from worker.blackbox.local_lm import LocalLmBox
from worker.blackbox.openai import OpenAiBox
from worker.blackbox.recorded import RecordedBox
from worker.blackbox.reward_model import RewardBox
from worker.blackbox.rubric import RubricBox

SAID = {
    "openai": OpenAiBox.traits,
    "local_lm": LocalLmBox.traits,
    "recorded": RecordedBox.traits,
    "rubric": RubricBox.traits,
    "reward_model": RewardBox.traits,
}


def test_the_catalogue_and_the_judges_agree_on_every_trait() -> None:
    assert {name: asdict(told) for name, told in TRAITS.items()} == {
        name: asdict(said) for name, said in SAID.items()
    }
