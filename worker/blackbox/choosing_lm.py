"""A local model as black box that cannot miss the form: it chooses the likeliest whole ranking.

It reads the same prompt as any other judge, demonstrations included. Instead of writing a reply it
is asked how likely it finds each well-formed one, and the likeliest is its answer: decoding under a
grammar whose sentences are few enough to be counted. It writes no response and gives no ties.
"""

import json
from dataclasses import dataclass
from itertools import permutations
from typing import ClassVar

from worker.blackbox.failures import BadRequest
from worker.blackbox.local_lm import LocalLmBox
from worker.blackbox.prompted import prompted_request, read_prompted
from worker.blackbox.types import Request
from worker.cycle.ports import Traits
from worker.cycle.types import Malformed, Question, Ranked, Reply
from worker.whitebox.reader import Reader

MOST_CANDIDATES = 5
"""A ranking of six would have 720 replies."""
CANDIDATES = "candidates"
"""The parameter that says how many a request ranks; without it the model writes."""


@dataclass(frozen=True)
class ChoosingLmBox:
    """Ranks by choosing; everything but rankings is left to `writer`, the same model."""

    reader: Reader
    writer: LocalLmBox
    name: str
    traits: ClassVar[Traits] = Traits(
        reads_demonstrations=True, writes_response=False, gives_ties=False, gives_scores=False
    )
    tries: ClassVar[int] = 1

    def request(self, question: Question, reask: tuple[str, Malformed] | None = None) -> Request:
        """The ranking prompt for this model, with how many candidates there are to order."""
        if question.form != "rank":
            return self.writer.request(question, reask)
        generation = self.reader.speaker.generation
        return prompted_request(
            question,
            None,
            judge={"type": "local_lm", "model": self.name, "replies": "likeliest"},
            parameters={
                CANDIDATES: len(question.responses),
                "max_length": generation.max_length,
            },
            allow_ties=False,
        )

    def ask(self, request: Request) -> Reply:
        """Choose; or write, where no ranking is asked for.

        Raises:
            BadRequest: the prompt is too long, or there are too many candidates to order.
            Interrupted: the caller asked to stop.
        """
        count = request.parameters.get(CANDIDATES)
        if not isinstance(count, int):
            return self.writer.ask(request)
        if count > MOST_CANDIDATES:
            raise BadRequest(f"{count} candidates; at most {MOST_CANDIDATES} can be ordered")
        tokens = self.writer.prompt_tokens(request)
        replies = [json.dumps({"ranking": order}) for order in permutations(range(count))]
        values = self.reader.value(request.messages, replies)
        best = max(range(len(replies)), key=lambda place: values[place])
        return Reply(replies[best], "stop", tokens_in=tokens, tokens_out=0, model=self.name)

    def read(self, reply: Reply, question: Question) -> Ranked | Malformed:
        """Read what was chosen like any other reply."""
        return read_prompted(reply, question, allow_ties=question.form != "rank")
