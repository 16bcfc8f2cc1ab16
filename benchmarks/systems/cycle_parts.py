"""What reference loop and engine share here: the white box, the judge, counts and a digest."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from benchmarks.judge import JudgeClient
from benchmarks.models import build_for
from benchmarks.prompts import prompts_for
from benchmarks.workload import Measured, Stopwatch, Workload
from worker.cycle.ports import Answers, SampleRequest, Traits
from worker.cycle.ranking import from_scores
from worker.cycle.seeds import sampling_seed
from worker.cycle.types import (
    At,
    Learned,
    Prompt,
    Question,
    Ranked,
    Ranking,
    Sample,
    TrainingRanking,
    Verdict,
)
from worker.objectives.pro import Pro
from worker.whitebox.chat import Chat
from worker.whitebox.decode import BatchedSampler
from worker.whitebox.frozen import LAYOUTS, Layout, best_layout
from worker.whitebox.opening import Learning, make_speaker, make_trainable
from worker.whitebox.policy import WhiteBox
from worker.whitebox.sample import Drawn, Generation, Row, never
from worker.whitebox.schedule import OptimizerConfig
from worker.whitebox.strips import SharedPrompt, lay
from worker.whitebox.tuning import FullTuning, LoraTuning

STAGE = "align"
WARM_UP = -1
"""The step of the warm-up's prompt."""


@dataclass(frozen=True)
class KeyedSampler:
    """Our sampler with every response cut at its keyed length; nothing else ends one."""

    sampler: BatchedSampler
    lengths: dict[int, int]
    """By the row's seed."""

    def sample(
        self, rows: Sequence[Row], version: int, interrupted: Callable[[], bool] = never
    ) -> Iterator[tuple[int, Drawn]]:
        """Sample with each row's limit set."""
        limited = [replace(row, limit=self.lengths[row.seed]) for row in rows]
        return self.sampler.sample(limited, version, interrupted)


class Watched:
    """The white box, with its beliefs and counts noted on the way."""

    def __init__(self, box: WhiteBox) -> None:
        self.box = box
        self.beliefs: dict[int, dict[str, float]] = {}
        """Of each step's latest responses, by text."""
        self.generated = self.trained = self.steps = 0

    @property
    def version(self) -> int:
        """Optimizer steps taken so far."""
        return self.box.version

    def sample(self, requests: Sequence[SampleRequest]) -> Iterator[tuple[int, list[Sample]]]:
        """Sample, and believe what the logits of sampling say."""
        for index, samples in self.box.sample(requests):
            means = {one.text: one.logprob / len(one.tokens) for one in reversed(samples)}
            self.beliefs[requests[index].prompt.step] = means
            self.generated += sum(len(one.tokens) for one in samples)
            yield index, samples

    def score(self, answers: Sequence[Answers]) -> list[list[float]]:
        """Score, and believe that instead."""
        found = self.box.score(answers)
        for one, means in zip(answers, found, strict=True):
            self.believe(one, means)
        return found

    def believe(self, answers: Answers, means: Sequence[float]) -> None:
        """Note a scoring pass."""
        texts = [sample.text for sample in answers.samples]
        self.beliefs[answers.prompt.step] = dict(zip(texts, means, strict=True))

    def foresee(self, answers: Answers) -> None:
        """Run ahead."""
        self.box.foresee(answers)

    def learn(self, rankings: Sequence[TrainingRanking]) -> list[Learned]:
        """Learn and count."""
        self.steps += 1
        shared = self.box.learner.scorer.shared_prompt
        strips = [lay(self.box.lesson(ranking).texts, shared) for ranking in rankings]
        self.trained += sum(len(strip) for some in strips for strip in some)
        return self.box.learn(rankings)


@dataclass(frozen=True)
class Verdicts:
    """Asks over HTTP; a prompt agrees in its keyed iteration and in no earlier one."""

    workload: Workload
    client: JudgeClient
    policy: Watched
    waited: list[float]
    traits: ClassVar[Traits] = Traits(
        reads_demonstrations=False, writes_response=False, gives_ties=False, gives_scores=False
    )

    def submit(self, at: At, question: Question) -> "Asked":
        """Ask at once."""
        order = self.client.submit(question.messages, question.responses)
        return Asked(self, at, question, order)

    def verdict(self, at: At, question: Question, order: Sequence[int]) -> Verdict:
        """The judge's ranking, or the belief where the prompt is to be done."""
        beliefs = self.policy.beliefs[at.step]
        white = from_scores({i: beliefs[text] for i, text in enumerate(question.responses)})
        if at.iteration + 1 >= self.workload.iterations_of(at.step):
            return Ranked(white)
        black: Ranking = tuple((place,) for place in order)
        return Ranked((*black[:-2], black[-1], black[-2]) if black == white else black)


@dataclass(frozen=True)
class Asked:
    """A question on its way."""

    verdicts: Verdicts
    at: At
    question: Question
    order: "Future[tuple[int, ...]]"

    def done(self) -> bool:
        """Whether the reply is here."""
        return self.order.done()

    def wait(self) -> Sequence[int]:
        """Wait for the reply, under the clock."""
        since = time.perf_counter()
        order = self.order.result()
        self.verdicts.waited.append(time.perf_counter() - since)
        return order

    def result(self) -> Verdict:
        """Wait for the verdict."""
        return self.verdicts.verdict(self.at, self.question, self.wait())


@dataclass(frozen=True)
class Bench:
    """A white box and a judge, ready to be measured."""

    workload: Workload
    prompts: list[Prompt]
    policy: Watched
    judge: Verdicts
    watch: Stopwatch

    def measured(self, system: str, events: Sequence[object], iterations: int) -> Measured:
        """Close the judge and gather the figures."""
        self.judge.client.close()
        return self.watch.measured(
            system,
            prompt_iterations=iterations,
            samples=iterations * self.workload.candidates,
            generated_tokens=self.policy.generated,
            trained_tokens=self.policy.trained,
            optimizer_steps=self.policy.steps,
            judge_calls=self.judge.client.calls,
            judge_wait_seconds=sum(self.judge.waited),
            digest=_digest(self.policy.box, events),
        )


def prepare(workload: Workload, judge_url: str, learning: Learning) -> Bench:
    """Build the white box and run it once, so that nothing is loaded under the clock."""
    model, tokenizer = build_for(workload)
    prompts = prompts_for(workload, tokenizer)
    box = _white_box(workload, model, tokenizer, learning)
    _warm_up(Watched(box), prompts[0], workload)
    model, tokenizer = build_for(workload)  # learnt from nothing, as if nothing had been
    policy = Watched(_white_box(workload, model, tokenizer, learning))
    judge = Verdicts(workload, JudgeClient(judge_url), policy, [])
    return Bench(workload, prompts, policy, judge, Stopwatch(workload.device))


def learning_of(shared_prompt: SharedPrompt, wanted: str) -> Learning:
    """How a step is computed, by the layout of frozen weights.

    `auto` is what the engine takes here; `torch` is the same without the kernels in C.

    Raises:
        ValueError: there is no layout of this name.
    """
    found: dict[str, Layout] = {"auto": best_layout(), "torch": best_layout()}
    found |= {name: name for name in LAYOUTS}
    if wanted not in found:
        raise ValueError(f"no layout {wanted!r}; there are {', '.join(found)}")
    return Learning(shared_prompt, layout=found[wanted], compiled=wanted != "torch")


def record(at: At, learned: Learned | None, *said: object) -> list[object]:
    """What two equal runs have in common of an iteration."""
    loss = None if learned is None else [learned.version, learned.loss.hex(), learned.scores]
    return [at.step, at.iteration, loss, *said]


def _white_box(workload: Workload, model: Any, tokenizer: Any, learning: Learning) -> WhiteBox:
    longest = workload.longest_response
    generation = Generation(
        max_new_tokens=longest,
        max_length=workload.prompt_tokens + longest,
        precision=workload.precision,
    )
    lengths = _lengths(workload)

    def keyed(model: Any, chat: Chat, generation: Generation) -> KeyedSampler:
        endless = replace(chat, stop_ids=frozenset(), stop_strings=())
        return KeyedSampler(BatchedSampler(model, endless, generation), lengths)

    speaker = make_speaker(model, tokenizer, generation, make_sampler=keyed)
    tuning = (
        FullTuning()
        if workload.tuning == "full"
        else LoraTuning(workload.lora_rank, 2.0 * workload.lora_rank)
    )
    return make_trainable(
        speaker,
        tuning,
        Pro(),
        OptimizerConfig(lr=workload.lr),
        total_updates=workload.prompt_iterations,
        seed=workload.seed,
        learning=learning,
    )


def _lengths(workload: Workload) -> dict[int, int]:
    places = [
        (step, iteration, k)
        for step in range(WARM_UP, workload.prompts)
        for iteration in range(workload.iterations)
        for k in range(workload.candidates)
    ]
    return {
        sampling_seed(workload.seed, At(STAGE, step, iteration), k): workload.length_of(
            step, iteration + 1, k
        )
        for step, iteration, k in places
    }


def _warm_up(policy: Watched, like: Prompt, workload: Workload) -> None:
    prompt = Prompt(WARM_UP, like.messages)
    at = At(STAGE, WARM_UP, 0)
    seeds = tuple(sampling_seed(workload.seed, at, k) for k in range(workload.candidates))
    [(_, samples)] = policy.sample([SampleRequest(prompt, seeds)])
    texts = tuple(sample.text for sample in samples)
    tokens = tuple(sample.tokens for sample in samples)
    groups = tuple((k,) for k in range(len(samples)))
    policy.learn([TrainingRanking(prompt, texts, tokens, groups, target=0)])


def _digest(box: WhiteBox, events: Sequence[object]) -> str:
    """SHA-256 over all events and every trained weight."""
    total = hashlib.sha256(json.dumps(events).encode())
    for name, weight in sorted(box.learner.parameters.items()):
        total.update(name.encode())
        total.update(weight.detach().float().cpu().numpy().tobytes())
    return total.hexdigest()
