"""A judge that says what it is told to: for tests and for trying a method without any model."""

from collections.abc import Callable, Iterable
from typing import ClassVar

from worker.blackbox.failures import AskFailure, NotRecorded
from worker.blackbox.prompted import prompted_request, read_prompted
from worker.blackbox.types import Request
from worker.cycle.canonical import storable
from worker.cycle.ports import Traits
from worker.cycle.types import Malformed, Question, Ranked, Reply

Answer = str | Reply | AskFailure
Script = Callable[[Request], Answer]


class ScriptedBox:
    """Answers by a rule over the request, whose parameters hold the presented `responses`.

    An `AskFailure` in the script is raised. `posts` lists what was asked, in order.
    """

    traits: ClassVar[Traits] = Traits(
        reads_demonstrations=True, writes_response=True, gives_ties=True, gives_scores=False
    )

    def __init__(self, script: Script, *, name: str = "scripted", tries: int = 1) -> None:
        self.tries = tries
        self.posts: list[Request] = []
        self._script = script
        self._name = name

    def request(self, question: Question, reask: tuple[str, Malformed] | None = None) -> Request:
        """The same prompt as a language model's, with the responses beside it."""
        return prompted_request(
            question,
            reask,
            judge={"type": "scripted", "name": self._name},
            parameters={"responses": [storable(text) for text in question.responses]},
            allow_ties=True,
        )

    def ask(self, request: Request) -> Reply:
        """Follow the script."""
        self.posts.append(request)
        answer = self._script(request)
        match answer:
            case AskFailure():
                raise answer
            case str():
                return Reply(answer, "stop", 0, 0, 0)
            case _:
                return answer

    def read(self, reply: Reply, question: Question) -> Ranked | Malformed:
        """Read strictly, like a language model's reply."""
        return read_prompted(reply, question, allow_ties=True)


def in_turn(answers: Iterable[Answer]) -> Script:
    """A script that gives these answers one after the other, and then none."""
    left = iter(answers)

    def next_answer(_: Request) -> Answer:
        return next(left, NotRecorded("the script is over"))

    return next_answer
