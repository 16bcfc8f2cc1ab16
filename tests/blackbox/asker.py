"""An endpoint asked through counted tries, as the ledger asks it."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.blackbox.questions import AT, QUESTION
from tests.judge_server import JudgeServer
from worker.blackbox.openai import OpenAiBox, OpenAiEndpoint
from worker.blackbox.tries import with_retries
from worker.blackbox.types import Request
from worker.cycle.types import At, Question, Reply

KEY = "sk-do-not-tell-1234567890"


class Asker:
    """Counts tries as the ledger does, and notes the waits instead of waiting."""

    def __init__(self, box: OpenAiBox) -> None:
        self.box = box
        self.waits: list[float] = []

    def __call__(self, at: At, request: Request, question: Question) -> Reply:
        return with_retries(
            lambda _: self.box.ask(request),
            tries=self.box.tries,
            sleep=self.waits.append,
            jitter_seed=1,
        )

    def ask(self) -> Reply:
        return self(AT, self.box.request(QUESTION), QUESTION)


@contextmanager
def asking(judge: JudgeServer, timeout_seconds: float = 20.0) -> Iterator[Asker]:
    endpoint = OpenAiEndpoint(judge.url, "fake-judge", api_key=KEY, timeout_seconds=timeout_seconds)
    box = OpenAiBox(endpoint)
    try:
        yield Asker(box)
    finally:
        box.close()
