from pathlib import Path

import pytest

from tests.blackbox.questions import AT, QUESTION
from tests.tiny import tiny_model_folder
from worker.blackbox.asking import rank
from worker.blackbox.failures import BadRequest
from worker.blackbox.local_lm import LocalLmBox
from worker.cycle.types import Fault, Malformed, Unanswered
from worker.whitebox.load import FolderModel
from worker.whitebox.opening import open_speaker
from worker.whitebox.policy import Speaker
from worker.whitebox.sample import Generation

ROOMY = 8192  # one token a byte: the prompt alone takes some thousands


def speaker(folder: Path, max_length: int, *, chat_template: bool = True) -> Speaker:
    source = FolderModel(tiny_model_folder(folder / "tiny", chat_template=chat_template))
    return open_speaker(source, Generation(max_new_tokens=12, max_length=max_length))


@pytest.mark.parametrize("chat_template", [True, False], ids=["chat model", "base model"])
def test_it_answers_alike_every_time(tmp_path: Path, chat_template: bool) -> None:
    box = LocalLmBox(speaker(tmp_path, ROOMY, chat_template=chat_template), "tiny")
    request = box.request(QUESTION)
    first = box.ask(request)
    assert box.ask(request) == first
    assert first.model == "tiny"
    assert first.tokens_in is not None
    assert first.tokens_in > 2000
    assert first.tokens_out == 12 or first.finish == "stop"


def test_an_answer_cut_by_the_limit_is_named(tmp_path: Path) -> None:
    box = LocalLmBox(speaker(tmp_path, ROOMY), "tiny")
    verdict = rank(box, AT, QUESTION, lambda _at, request, _question: box.ask(request))
    assert isinstance(verdict, Malformed)
    assert verdict.fault in {Fault.TRUNCATED, Fault.NOT_JSON}


def test_a_prompt_that_does_not_fit_is_refused_and_never_cut(tmp_path: Path) -> None:
    box = LocalLmBox(speaker(tmp_path, 512), "tiny")
    with pytest.raises(BadRequest, match="room for 500"):
        box.ask(box.request(QUESTION))
    verdict = rank(box, AT, QUESTION, lambda _at, request, _question: box.ask(request))
    assert isinstance(verdict, Unanswered)


def test_another_model_name_is_another_question(tmp_path: Path) -> None:
    one = speaker(tmp_path, ROOMY)
    assert (
        LocalLmBox(one, "a").request(QUESTION).key() != LocalLmBox(one, "b").request(QUESTION).key()
    )
