"""A reward model as judge: the order of its rewards, each response scored by itself.

It reads no demonstrations and does not see the responses beside one another, so their order changes
nothing. Scores are sigmoids of rewards, as PRO and CycleAlign print them.
"""

import json
import math
from typing import ClassVar

from worker.blackbox.types import Request, storable_dialogue
from worker.cycle.canonical import storable
from worker.cycle.ports import Traits
from worker.cycle.ranking import from_scores
from worker.cycle.types import Fault, Malformed, Question, Ranked, Reply
from worker.whitebox.rewarder import Rewarder


class RewardBox:
    """A local reward model; `name` changes with its weights."""

    traits: ClassVar[Traits] = Traits(
        reads_demonstrations=False, writes_response=False, gives_ties=True, gives_scores=True
    )
    tries: ClassVar[int] = 1

    def __init__(self, rewarder: Rewarder, name: str) -> None:
        self._rewarder = rewarder
        self._name = name

    def request(self, question: Question, reask: tuple[str, Malformed] | None = None) -> Request:  # noqa: ARG002 - nothing to be told
        """The dialogue and the responses."""
        generation = self._rewarder.generation
        return Request(
            judge={"type": "reward_model", "model": self._name},
            template="reward-1",
            messages=storable_dialogue(question.messages),
            parameters={
                "responses": [storable(text) for text in question.responses],
                "max_length": generation.max_length,
                "response_tokens": generation.max_new_tokens,
            },
        )

    def ask(self, request: Request) -> Reply:
        """Score every response."""
        responses = request.parameters["responses"]
        assert isinstance(responses, list)
        rewards, tokens = self._rewarder.rewards(request.messages, responses)
        return Reply(json.dumps({"rewards": rewards}), "stop", tokens, 0, 0, model=self._name)

    def read(self, reply: Reply, question: Question) -> Ranked | Malformed:
        """Read our own reply back; a stored one may be anything."""
        try:
            rewards = [float(reward) for reward in json.loads(reply.text)["rewards"]]
        except (ValueError, TypeError, KeyError) as error:
            return Malformed(
                Fault.NOT_JSON, f"not a reply of a reward model: {error!r}", reply.text
            )
        if len(rewards) != len(question.responses) or not all(map(math.isfinite, rewards)):
            return Malformed(Fault.MISSING, "there is not one reward a response", reply.text)
        return Ranked(
            from_scores(dict(enumerate(rewards))),
            scores=tuple(map(sigmoid, rewards)),
            why={"rewards": rewards},
            raw=reply.text,
        )


def sigmoid(reward: float) -> float:
    """1 / (1 + e^-reward), by the hyperbolic tangent, which no reward makes overflow."""
    return (1 + math.tanh(reward / 2)) / 2
