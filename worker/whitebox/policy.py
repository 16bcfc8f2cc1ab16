"""The white box as a method sees it: sample, score, learn; no tensor crosses this line."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from worker.cycle.ports import SampleRequest
from worker.cycle.types import Dialogue, Learned, Prompt, Sample, TrainingRanking
from worker.whitebox.chat import Chat
from worker.whitebox.errors import NoRoom
from worker.whitebox.learn import Learner, Lesson
from worker.whitebox.sample import Decoding, Drawn, Generation, Row, never, sample_rows
from worker.whitebox.score import response_logprobs


@dataclass(frozen=True)
class Speaker:
    """A model that only answers: the untrained part of a white box, and all of a local judge.

    Raises:
        NoRoom: the generation's lengths leave no token for the prompt.
    """

    model: Any
    chat: Chat
    generation: Generation
    interrupted: Callable[[], bool] = never

    def __post_init__(self) -> None:
        if self.generation.prompt_limit < 1 or self.generation.max_new_tokens < 1:
            raise NoRoom(
                f"max_length {self.generation.max_length} and max_new_tokens "
                f"{self.generation.max_new_tokens} leave no room for prompt and response"
            )

    def prompt_ids(self, messages: Dialogue) -> tuple[int, ...]:
        """The prompt as this model reads it, cut to leave room for a whole response."""
        return self.chat.prompt_ids(messages, self.generation.prompt_limit)

    def sample(self, requests: Sequence[SampleRequest], version: int = 0) -> list[list[Sample]]:
        """One response per seed of every request, in their order.

        Raises:
            Interrupted: the caller asked to stop.
        """
        rows = [
            Row(prompt, seed)
            for request in requests
            for prompt in [self.prompt_ids(request.prompt.messages)]
            for seed in request.seeds
        ]
        drawn = iter(sample_rows(self.model, self.chat, rows, self.generation, self.interrupted))
        return [
            [self._sample(next(drawn), seed, version) for seed in request.seeds]
            for request in requests
        ]

    def stream(self, messages: Dialogue, seed: int) -> Iterator[str]:
        """The whole text so far after every token, for people who watch."""
        row = Row(self.prompt_ids(messages), seed)
        decoding = Decoding(self.model, self.chat, [row], self.generation)
        while decoding.running and not self.interrupted():
            decoding.step()
            yield self.chat.text(self.chat.without_stop(decoding.drawn[0].tokens))

    def _sample(self, drawn: Drawn, seed: int, version: int) -> Sample:
        tokens = self.chat.without_stop(drawn.tokens)
        return Sample(
            text=self.chat.text(tokens),
            tokens=tokens,
            logprob=sum(drawn.logprobs[: len(tokens)]),
            finish="stop" if drawn.ended else "length",
            seed=seed,
            version=version,
        )


class WhiteBox:
    """The policy of a run: a speaker and a learner over the same weights."""

    def __init__(self, speaker: Speaker, learner: Learner) -> None:
        self.speaker = speaker
        self.learner = learner

    @property
    def version(self) -> int:
        """Optimizer steps taken so far."""
        return self.learner.version

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[Sample]]:
        """Sample all requests in one batch under the current weights.

        Raises:
            Interrupted: the caller asked to stop.
        """
        return self.speaker.sample(requests, self.version)

    @torch.no_grad()
    def score(self, prompt: Prompt, samples: Sequence[Sample]) -> list[float]:
        """Token-mean log-probability of each sample under the current weights, in nats."""
        if not samples:
            return []
        ids = self.speaker.prompt_ids(prompt.messages)
        generation = self.speaker.generation
        sum_K, count_K = response_logprobs(
            self.speaker.model,
            ids,
            [sample.tokens for sample in samples],
            chunk=max(1, generation.batch_tokens // generation.max_length),
            precision=generation.precision,
        )
        return [float(mean) for mean in sum_K / count_K]

    def learn(self, ranking: TrainingRanking) -> Learned:
        """Take one optimizer step on one ranking.

        Raises:
            NonFiniteLoss: nothing was changed.
        """
        prompt = self.speaker.prompt_ids(ranking.prompt.messages)
        room = self.speaker.generation.max_length - len(prompt)
        responses = tuple(
            self.speaker.chat.response_ids(text, room) if tokens is None else tokens
            for text, tokens in zip(ranking.texts, ranking.tokens, strict=True)
        )
        return self.learner.learn(Lesson(prompt, responses, ranking.groups, ranking.target))
