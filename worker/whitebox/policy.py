"""The white box as a method sees it: sample, score, learn; no tensor crosses this line."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from worker.cycle.ports import Answers, SampleRequest
from worker.cycle.types import Dialogue, Learned, Sample, TrainingRanking
from worker.whitebox.chat import Chat
from worker.whitebox.decode import Decoding
from worker.whitebox.errors import NoRoom
from worker.whitebox.learn import Learner, Lesson
from worker.whitebox.sample import Drawn, Generation, Row, Sampler, never, texts_of
from worker.whitebox.start import adapters_start
from worker.whitebox.strips import Texts


@dataclass(frozen=True)
class Speaker:
    """A model that only answers: the untrained part of a white box, and all of a local judge.

    Raises:
        NoRoom: the generation's lengths leave no token for the prompt.
    """

    model: Any
    chat: Chat
    generation: Generation
    sampler: Sampler
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

    def sample(
        self, requests: Sequence[SampleRequest], version: int = 0
    ) -> Iterator[tuple[int, list[Sample]]]:
        """One response per seed of every request, as soon as all of a request are complete.

        Raises:
            Interrupted: the caller asked to stop.
        """
        prompts = [self.prompt_ids(request.prompt.messages) for request in requests]
        places = [(i, seed) for i, request in enumerate(requests) for seed in request.seeds]
        rows = [Row(prompts[i], seed) for i, seed in places]
        found: list[dict[int, Sample]] = [{} for _ in requests]
        for row, drawn in self.sampler.sample(rows, version, self.interrupted):
            i, seed = places[row]
            found[i][row] = self._sample(drawn, seed, version)
            if len(found[i]) == len(requests[i].seeds):
                yield i, [found[i][row] for row in sorted(found[i])]

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

    def sample(self, requests: Sequence[SampleRequest]) -> Iterator[tuple[int, list[Sample]]]:
        """Sample all requests under the current weights; yield each as soon as it is complete.

        Raises:
            Interrupted: the caller asked to stop.
        """
        return self.speaker.sample(requests, self.version)

    def score(self, answers: Sequence[Answers]) -> list[list[float]]:
        """Token-mean log-probability of each sample under the current weights, in nats.

        The pass over a single prompt is kept for the step that may follow it.
        """
        texts = [self.texts(one) for one in answers]
        if len(answers) == 1 and texts[0].responses:
            return [self.learner.foresee(texts[0]).tolist()]
        scored = iter(self.learner.scorer.values([one for one in texts if one.responses]))
        return [next(scored) if one.responses else [] for one in texts]

    def foresee(self, answers: Answers) -> None:
        """Run the forward pass of a step on these answers ahead."""
        self.learner.foresee(self.texts(answers))

    def learn(self, rankings: Sequence[TrainingRanking]) -> list[Learned]:
        """Take one optimizer step on the mean loss of the rankings.

        Raises:
            NonFiniteLoss: nothing was changed.
        """
        return self.learner.learn([self.lesson(ranking) for ranking in rankings])

    def values(self, rankings: Sequence[TrainingRanking]) -> list[list[float]]:
        """The scorer's value of each text: token-mean log-probabilities, or rewards."""
        return self.learner.scorer.values([self.lesson(ranking).texts for ranking in rankings])

    def distance(self, answers: Answers) -> float | None:
        """KL of the weights that sampled these to the start model, estimated in nats a token.

        The mean over their tokens of the difference of log-probabilities, in one pass without
        gradients. None where the start model is not at hand: full tuning keeps no copy for this.
        """
        start, texts = (
            self.learner.start or adapters_start(self.learner.scorer),
            self.texts(answers),
        )
        if start is None or not texts.responses:
            return None
        [before] = start.values(self.learner.scorer, [texts])
        lengths = [len(response) for response in texts.responses]
        total = sum(mean * length for mean, length in zip(before, lengths, strict=True))
        return (sum(sample.logprob for sample in answers.samples) - total) / sum(lengths)

    def texts(self, answers: Answers) -> Texts:
        """The answers in tokens."""
        prompt = self.speaker.prompt_ids(answers.prompt.messages)
        return Texts(prompt, tuple(sample.tokens for sample in answers.samples))

    def lesson(self, ranking: TrainingRanking) -> Lesson:
        """The ranking in tokens; a teacher response is tokenised and cut to the room there is."""
        responses = [
            text if tokens is None else tokens
            for text, tokens in zip(ranking.texts, ranking.tokens, strict=True)
        ]
        speaker, messages = self.speaker, ranking.prompt.messages
        texts = texts_of(speaker.chat, speaker.generation, messages, responses)
        return Lesson(texts, ranking.groups, ranking.target, ranking.scores)
