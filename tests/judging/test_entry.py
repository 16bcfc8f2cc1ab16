"""What a catalogue entry says about speed changes nothing in what is asked."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.core.spec.catalogue import Catalogue, OpenAiJudge, entry_hash
from tests.judging.asking import question
from worker.judges import Surroundings, build_judge

FAST = {"concurrency": 200, "requests_per_minute": 10_000, "tokens_per_minute": 2_000_000}


def entry(**fields: Any) -> OpenAiJudge:
    return OpenAiJudge.model_validate(
        {"type": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "judge-1", **fields}
    )


def key_of(judge: OpenAiJudge, catalogue: Catalogue, tmp_path: Any) -> str:
    around = Surroundings(catalogue, tmp_path, lambda: False, lambda _: tmp_path)
    box = build_judge(judge, around)
    return box.request(question(0)).key()


def test_a_request_has_the_same_key_at_any_speed(tmp_path: Any) -> None:
    catalogue = Catalogue(models={}, judges={})
    slow = key_of(entry(), catalogue, tmp_path)
    assert key_of(entry(**FAST), catalogue, tmp_path) == slow
    assert key_of(entry(max_tokens=64), catalogue, tmp_path) != slow


def test_a_job_goes_on_under_another_speed_and_not_under_another_judge() -> None:
    assert entry_hash(entry(**FAST)) == entry_hash(entry())
    assert entry_hash(entry(model="judge-2")) != entry_hash(entry())


@pytest.mark.parametrize(
    "fields",
    [
        {"concurrency": 0},
        {"concurrency": 257},
        {"requests_per_minute": 0},
        {"tokens_per_minute": -1},
        {"requests_per_minute": 1.5},
    ],
)
def test_a_speed_that_makes_no_sense_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        entry(**fields)
