"""A model of the catalogue as black box: the same prompt as any other, answered on this machine.

Small models mostly miss the asked form; that is a value, and counted.
"""

from dataclasses import replace
from typing import ClassVar

from worker.blackbox.failures import BadRequest
from worker.blackbox.prompted import prompted_request, read_prompted
from worker.blackbox.types import Request
from worker.cycle.canonical import storable
from worker.cycle.ports import SampleRequest, Traits
from worker.cycle.types import Malformed, Prompt, Question, Ranked, Reply
from worker.whitebox.policy import Speaker

TEMPERATURE = 0.01  # greedy in all but name: the sampler divides by it
SEED = 0
_UNCUT = 2**31  # longer than any prompt


class LocalLmBox:
    """A local model that answers near-greedily and always alike.

    `name` identifies the model in the ledger's keys; it should change when the weights do.
    """

    traits: ClassVar[Traits] = Traits(
        reads_demonstrations=True, writes_response=True, gives_ties=True, gives_scores=False
    )
    tries: ClassVar[int] = 1

    def __init__(self, speaker: Speaker, name: str) -> None:
        """Take the speaker's lengths; its temperature and nucleus give way to the judge's own."""
        generation = replace(speaker.generation, temperature=TEMPERATURE, top_p=1.0)
        self._speaker = replace(speaker, generation=generation)
        self._name = name

    def request(self, question: Question, reask: tuple[str, Malformed] | None = None) -> Request:
        """The ranking prompt for this model."""
        generation = self._speaker.generation
        return prompted_request(
            question,
            reask,
            judge={"type": "local_lm", "model": self._name},
            parameters={
                "max_tokens": generation.max_new_tokens,
                "max_length": generation.max_length,
                "temperature": generation.temperature,
                "seed": SEED,
            },
            allow_ties=True,
        )

    def ask(self, request: Request) -> Reply:
        """Answer it here.

        Raises:
            BadRequest: the prompt is too long; cut, it would show the judge other candidates.
            Interrupted: the caller asked to stop.
        """
        tokens = self.prompt_tokens(request)
        asked = SampleRequest(Prompt(0, request.messages), (SEED,))
        [(_, [sample])] = self._speaker.sample([asked])
        return Reply(
            storable(sample.text),
            sample.finish,
            tokens_in=tokens,
            cached_tokens_in=0,
            tokens_out=len(sample.tokens),
            model=self._name,
        )

    def prompt_tokens(self, request: Request) -> int:
        """Count the prompt's tokens; raises `BadRequest` if they do not fit."""
        tokens = len(self._speaker.chat.prompt_ids(request.messages, _UNCUT))
        room = self._speaker.generation.prompt_limit
        if tokens > room:
            raise BadRequest(f"the prompt takes {tokens} tokens, and there is room for {room}")
        return tokens

    def read(self, reply: Reply, question: Question) -> Ranked | Malformed:
        """Read strictly; a reply that the limit cut is a fault."""
        return read_prompted(reply, question, allow_ties=True)
