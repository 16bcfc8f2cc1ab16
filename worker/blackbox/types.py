"""What is asked of a judge and what comes back: the seam between the judges and their ledger."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from worker.cycle.canonical import digest, storable
from worker.cycle.ports import Traits
from worker.cycle.types import Dialogue, Malformed, Message, Question, Ranked, Reply


@dataclass(frozen=True)
class Request:
    """All that determines an answer, and nothing secret: two equal requests are one question.

    `judge` says who is asked, `parameters` how; what is posted is made of this record alone.
    """

    judge: Mapping[str, object]
    template: str
    messages: Dialogue
    parameters: Mapping[str, object] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """The request as a JSON object, as the ledger stores it."""
        return {
            "judge": dict(self.judge),
            "template": self.template,
            "messages": written(self.messages),
            "parameters": dict(self.parameters),
        }

    def key(self) -> str:
        """The ledger's key: SHA-256 of the canonical JSON, in hex."""
        return digest(self.as_json())


class BlackBox(Protocol):
    """A judge. It keeps no books: the ledger stands between it and the method."""

    @property
    def traits(self) -> Traits:
        """What this judge can do."""
        ...

    @property
    def tries(self) -> int:
        """How many posts one request may take, the first included."""
        ...

    def request(self, question: Question, reask: tuple[str, Malformed] | None = None) -> Request:
        """Put the question into this judge's form; `reask` is the last reply and its fault."""
        ...

    def ask(self, request: Request) -> Reply:
        """Post once.

        Raises:
            AskFailure: no answer came.
        """
        ...

    def read(self, reply: Reply, question: Question) -> Ranked | Malformed:
        """Understand a reply, fresh or stored."""
        ...


def question_digest(question: Question) -> str:
    """Identify a question whatever judge is asked, as SHA-256 in hex.

    The order of responses and demonstrations counts; where a demonstration came from does not, nor
    how often it is asked.
    """
    form = {} if question.form == "rank" else {"form": question.form}
    return digest(
        {
            **form,
            "messages": written(question.messages),
            "responses": list(question.responses),
            "demonstrations": [
                {
                    "messages": written(shown.messages),
                    "responses": list(shown.responses),
                    "answer": [list(group) for group in shown.answer],
                }
                for shown in question.demonstrations
            ],
            "wants_response": question.wants_response,
        }
    )


def written(messages: Dialogue) -> list[dict[str, str]]:
    """The dialogue as the chat protocol writes it."""
    return [{"role": turn.role, "content": turn.content} for turn in messages]


def storable_dialogue(messages: Dialogue) -> Dialogue:
    """The dialogue with every turn `storable`."""
    return tuple(Message(turn.role, storable(turn.content)) for turn in messages)
