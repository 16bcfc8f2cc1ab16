"""An endpoint as a contestant: asked through the judge's ledger, it answers in text alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from worker.cycle.contest import ANSWER
from worker.cycle.ports import Judge, Pending, SampleRequest
from worker.cycle.types import At, Dialogue, Question, Ranked, Sample
from worker.methods.evaluating import in_flight


@dataclass(frozen=True)
class Endpoint:
    """Answers each prompt once; a prompt that is not answered has no sample."""

    judge: Judge
    place: int
    """The contestant's."""

    def sample(self, requests: Sequence[SampleRequest]) -> Iterator[tuple[int, list[Sample]]]:
        """Ask all at once; yield what is answered, in order."""
        asked = ((index, partial(self._ask, request)) for index, request in enumerate(requests))
        for index, verdict in in_flight(asked):
            if isinstance(verdict, Ranked) and verdict.teacher is not None:
                seed = requests[index].seeds[0]
                yield index, [Sample(verdict.teacher, (), 0.0, "stop", seed, 0)]

    def _ask(self, request: SampleRequest) -> Pending:
        at = At(ANSWER, request.prompt.step, self.place)
        return self.judge.submit(at, Question(request.prompt.messages, (), form="answer"))

    def value(self, messages: Dialogue, responses: Sequence[str]) -> list[float]:  # noqa: ARG002 - there is nothing to do with them
        """Raises `TypeError`."""
        raise TypeError("an endpoint tells no probabilities")
