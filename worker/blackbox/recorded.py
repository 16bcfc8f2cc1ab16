"""A judge that replays a stored ledger: the answers of an earlier run, at no cost.

Rows are JSON Lines as the service exports judge calls. A row counts if it has `question_sha256`
and `reply` and, where it tells a `state`, is `done`. Of several answers to one question the last
one counts, so that a malformed reply gives way to the answer that the re-ask brought.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from worker.blackbox.failures import NotRecorded
from worker.blackbox.prompted import read_prompted
from worker.blackbox.types import Request, question_digest, storable_dialogue
from worker.cycle.canonical import digest
from worker.cycle.ports import Traits
from worker.cycle.types import Malformed, Question, Ranked, Reply


class RecordedBox:
    """Answers by question, whatever judge gave them.

    The key of a request names the recorded answers by their content, so that another recording
    under the same catalogue name is another judge.
    """

    traits: ClassVar[Traits] = Traits(
        reads_demonstrations=True, writes_response=True, gives_ties=True, gives_scores=False
    )
    tries: ClassVar[int] = 1

    def __init__(self, replies: Mapping[str, Reply]) -> None:
        self._replies = dict(replies)
        rows = {sha: [reply.text, reply.finish] for sha, reply in self._replies.items()}
        self._judge = {"type": "recorded", "content": digest(rows)}

    def request(self, question: Question, reask: tuple[str, Malformed] | None = None) -> Request:  # noqa: ARG002 - a record cannot be told
        """The question's digest; the turns stand beside it for people who read the ledger."""
        return Request(
            judge=self._judge,
            template="recorded-1",
            messages=storable_dialogue(question.messages),
            parameters={"question_sha256": question_digest(question)},
        )

    def ask(self, request: Request) -> Reply:
        """Look the answer up.

        Raises:
            NotRecorded: the ledger holds none.
        """
        sha = str(request.parameters["question_sha256"])
        if sha not in self._replies:
            raise NotRecorded(f"no recorded answer to the question {sha}")
        return self._replies[sha]

    def read(self, reply: Reply, question: Question) -> Ranked | Malformed:
        """Read it like a language model's; a recorded rubric's scores are left aside."""
        return read_prompted(reply, question, allow_ties=True)


def read_recording(path: Path) -> dict[str, Reply]:
    """Read the JSON Lines file at `path`.

    Raises:
        ValueError: a line is no JSON object, or misses a field; the message names the line.
    """
    with path.open(encoding="utf-8") as lines:
        return replies_of(lines)


def replies_of(lines: Iterable[str]) -> dict[str, Reply]:
    """The last usable answer to each question, by the question's digest; blank lines are skipped.

    Raises:
        ValueError: as `read_recording`.
    """
    replies = {}
    for number, line in enumerate(lines, start=1):
        row = _row(line, number) if line.strip() else {}
        if row and row.get("state", "done") == "done":
            replies[_text(row, "question_sha256", number)] = _reply(row, number)
    return replies


def _row(line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"line {number} is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f"line {number} is not a JSON object")  # noqa: TRY004 - the file is wrong, no argument's type
    return row


def _reply(row: Mapping[str, Any], number: int) -> Reply:
    finish = row.get("finish") or "stop"
    return Reply(_text(row, "reply", number), str(finish), 0, 0, 0, model=row.get("model"))


def _text(row: Mapping[str, Any], field: str, number: int) -> str:
    value = row.get(field)
    if not isinstance(value, str):
        raise ValueError(f"line {number} has no text in {field!r}")  # noqa: TRY004 - as above
    return value
