"""What the API says of a judge is what the worker's judge says of itself."""

from dataclasses import asdict

from app.core.spec.catalogue import FolderSource, LocalLmJudge, ModelEntry
from app.core.spec.job import JobSpec
from app.services.catalogue import TRAITS, traits_of
from app.services.entries import Entries
from app.services.resolving import spec_faults
from worker.blackbox.choosing_lm import MOST_CANDIDATES, ChoosingLmBox
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


def test_a_judge_that_chooses_says_so_of_itself() -> None:
    entry = LocalLmJudge(type="local_lm", model="m", replies="likeliest")
    assert asdict(traits_of(entry)) == asdict(ChoosingLmBox.traits)


def test_more_candidates_than_a_judge_can_choose_among_are_refused() -> None:
    entry = LocalLmJudge(type="local_lm", model="m", replies="likeliest")
    asked = {
        "model": {"name": "m"},
        "judge": {"name": "m"},
        "prompts": {"dataset": "ds_" + "0" * 26},
        "method": {"type": "cyclealign", "candidates": MOST_CANDIDATES},
    }
    model = ModelEntry(source=FolderSource(type="folder", path="/m"), license="MIT")
    entries = Entries(model, entry)
    assert list(spec_faults(JobSpec.model_validate(asked), entries)) == []
    asked["method"] = {"type": "cyclealign", "candidates": MOST_CANDIDATES + 1}
    [fault] = spec_faults(JobSpec.model_validate(asked), entries)
    assert fault.pointer == "/method/candidates"


def test_the_catalogue_and_the_judges_agree_on_every_trait() -> None:
    assert {name: asdict(told) for name, told in TRAITS.items()} == {
        name: asdict(said) for name, said in SAID.items()
    }
