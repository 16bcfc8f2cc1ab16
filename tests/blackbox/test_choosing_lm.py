"""A local model that chooses among all rankings: it always answers, and its prompt decides what."""

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

from tests.blackbox.questions import AT, QUESTION
from tests.tiny import tiny_model_folder
from worker.blackbox.asking import rank
from worker.blackbox.choosing_lm import ChoosingLmBox
from worker.blackbox.failures import BadRequest
from worker.blackbox.local_lm import LocalLmBox
from worker.cycle.types import Ranked
from worker.whitebox.load import FolderModel
from worker.whitebox.opening import open_speaker
from worker.whitebox.reader import open_reader
from worker.whitebox.sample import Generation

ROOMY = 8192


def choosing(folder: Path, max_length: int = ROOMY) -> ChoosingLmBox:
    source = FolderModel(tiny_model_folder(folder / "tiny", chat_template=True))
    speaker = open_speaker(source, Generation(max_new_tokens=12, max_length=max_length))
    return ChoosingLmBox(open_reader(speaker), LocalLmBox(speaker, "tiny"), "tiny")


def test_it_answers_with_the_likeliest_of_all_rankings(tmp_path: Path) -> None:
    box = choosing(tmp_path)
    request = box.request(QUESTION)
    reply = box.ask(request)
    every = [json.dumps({"ranking": order}) for order in permutations(range(3))]
    values = box.reader.value(request.messages, every)
    assert reply.text == every[values.index(max(values))]
    assert box.ask(request) == reply
    verdict = rank(box, AT, QUESTION, lambda _at, asked, _question: box.ask(asked))
    assert isinstance(verdict, Ranked)
    assert sorted(item for group in verdict.ranking for item in group) == [0, 1, 2]
    assert reply.tokens_in is not None
    assert reply.tokens_in > 2000


def test_demonstrations_stand_before_it(tmp_path: Path) -> None:
    box = choosing(tmp_path)
    shown, bare = box.request(QUESTION), box.request(replace(QUESTION, demonstrations=()))
    assert len(shown.messages) == len(bare.messages) + 2
    replies = ['{"ranking": [0, 1, 2]}', '{"ranking": [2, 1, 0]}']
    assert box.reader.value(shown.messages, replies) != box.reader.value(bare.messages, replies)


def test_it_is_another_judge_than_the_one_that_writes(tmp_path: Path) -> None:
    box = choosing(tmp_path)
    assert box.request(QUESTION).key() != box.writer.request(QUESTION).key()


def test_what_is_no_ranking_it_writes(tmp_path: Path) -> None:
    box = choosing(tmp_path)
    answer = replace(QUESTION, responses=(), demonstrations=(), form="answer")
    assert box.request(answer) == box.writer.request(answer)
    assert box.ask(box.request(answer)) == box.writer.ask(box.request(answer))


def test_too_many_candidates_and_too_long_prompts_are_refused(tmp_path: Path) -> None:
    box = choosing(tmp_path)
    with pytest.raises(BadRequest, match="at most 5"):
        box.ask(box.request(replace(QUESTION, responses=tuple("abcdef"))))
    with pytest.raises(BadRequest, match="room for 500"):
        choosing(tmp_path, 512).ask(box.request(QUESTION))
