import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.blackbox.questions import QUESTION
from worker.blackbox.failures import NotRecorded
from worker.blackbox.recorded import RecordedBox, read_recording, replies_of
from worker.blackbox.rubric import RubricBox
from worker.blackbox.types import question_digest
from worker.cycle.types import Fault, Malformed, Ranked

SHA = question_digest(QUESTION)


def row(reply: str, **more: object) -> str:
    return json.dumps({"question_sha256": SHA, "reply": reply, **more})


def test_a_recording_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text(row('{"ranking": [1, 0, 2]}') + "\n\n", encoding="utf-8")
    box = RecordedBox(read_recording(path))
    answer = box.read(box.ask(box.request(QUESTION)), QUESTION)
    assert isinstance(answer, Ranked)
    assert answer.ranking == ((1,), (0,), (2,))


def test_the_last_answer_that_was_got_counts() -> None:
    rows = [
        row("prose", state="done"),
        row('{"ranking": [2, 1, 0]}', state="done"),
        row("", state="failed"),
        json.dumps({"question_sha256": SHA, "reply": None, "state": "inflight"}),
    ]
    assert replies_of(rows)[SHA].text == '{"ranking": [2, 1, 0]}'


def test_a_recorded_finish_keeps_its_meaning() -> None:
    box = RecordedBox(replies_of([row('{"ranking": [2, 1, 0]}', finish="length")]))
    answer = box.read(box.ask(box.request(QUESTION)), QUESTION)
    assert isinstance(answer, Malformed)
    assert answer.fault is Fault.TRUNCATED


def test_the_rubrics_ranking_can_be_replayed() -> None:
    rubric = RubricBox()
    reply = rubric.ask(rubric.request(QUESTION))
    first = rubric.read(reply, QUESTION)
    box = RecordedBox(replies_of([row(reply.text)]))
    answer = box.read(box.ask(box.request(QUESTION)), QUESTION)
    assert isinstance(first, Ranked)
    assert isinstance(answer, Ranked)
    assert answer.ranking == first.ranking


def test_a_question_that_was_never_asked_is_a_failure_with_its_digest() -> None:
    box = RecordedBox({})
    with pytest.raises(NotRecorded, match=SHA):
        box.ask(box.request(QUESTION))


def test_another_recording_is_another_judge() -> None:
    one = RecordedBox(replies_of([row("a")]))
    other = RecordedBox(replies_of([row("b")]))
    assert one.request(QUESTION).key() != other.request(QUESTION).key()


def test_the_digest_is_of_the_question_and_not_of_its_history() -> None:
    [shown] = QUESTION.demonstrations
    moved = replace(QUESTION, demonstrations=(replace(shown, origin="agreement"),))
    asked = replace(QUESTION, wants_response=True)
    assert question_digest(moved) == SHA
    assert question_digest(asked) != SHA


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 2 is not JSON"),
        ("[]", "line 2 is not a JSON object"),
        ('{"reply": "x"}', "line 2 has no text in 'question_sha256'"),
        ('{"question_sha256": "x", "reply": 1}', "line 2 has no text in 'reply'"),
    ],
)
def test_a_broken_line_is_named(line: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        replies_of([row("a"), line])
