"""CycleAlign (arXiv 2310.16271, section 3): both boxes rank, agree and teach each other.

Where the paper is silent or we depart from it:
1. Many prompts are in flight as lanes; a round turns each once under the weights that sampled it,
   then trains on them one by one. One lane is the paper's serial loop.
2. Responses are sampled anew in each iteration, and equal or empty ones do not reach the judge.
3. The belief is that of the weights that sampled; the update comes before the equality test.
4. An agreement of two or more becomes a demonstration, re-indexed and shuffled.
5. A ranking that cannot be read skips its update; the iteration counts.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from worker.cycle.agreement import agreement
from worker.cycle.demos import Dynamic, demonstrate, demonstrated_order
from worker.cycle.events import Event, Iterated, Outcome, Phase, RoundEnded, StepEnded
from worker.cycle.lanes import Lane, Progress, from_state
from worker.cycle.ports import Judge, Policy, SampleRequest, State
from worker.cycle.ranking import flatten, same_order
from worker.cycle.seeds import permutation, sampling_seed
from worker.cycle.training import training_ranking
from worker.cycle.turn import Turn, distinct, make_turn, place
from worker.cycle.types import (
    Demonstration,
    Malformed,
    Prompt,
    Ranked,
    Ranking,
    Sample,
    TrainingRanking,
    Unanswered,
    Verdict,
)
from worker.methods.held_out import score_held_out


@dataclass(frozen=True)
class CycleConfig:
    """The knobs of the cycle; the defaults are the paper's."""

    seed: int
    iterations: int = 5
    """Most turns of one prompt (N)."""
    candidates: int = 3
    """Responses sampled in an iteration."""
    concurrency: int = 1
    """Lanes."""
    teacher: bool = True
    """Whether a judge that can write is asked for a better response."""
    dynamic: Dynamic = "agreement"
    belief: Literal["sampling", "scoring"] = "sampling"
    """Whether the belief is of the logits of sampling, or of a scoring pass before the updates."""
    held_out_samples: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers under which there is no cycle."""
        least = {"iterations": 1, "candidates": 2, "concurrency": 1, "held_out_samples": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} must be {bound} or more, not {getattr(self, name)}")


def cyclealign(
    prompts: Sequence[Prompt],
    static: tuple[Demonstration, ...],
    held_out: Sequence[Prompt],
    policy: Policy,
    judge: Judge,
    config: CycleConfig,
    state: State | None = None,
) -> Iterator[Event]:
    """Align the policy with the judge, one event at a time.

    Args:
        prompts: the run, in order; their `step` must differ.
        static: demonstrations that every question begins with.
        held_out: prompts scored before the first and after the last round.
        policy: the white box, at the weights of the state's round.
        judge: the black box.
        config: the knobs.
        state: the state of a `RoundEnded` of the same run; the events after it follow, the same.
    """
    cycle = _Cycle(prompts, static, held_out, policy, judge, config)
    if state is None:
        yield from cycle.evaluate("held_out_before")
        progress = Progress()
        yield cycle.ended(progress)
    else:
        progress = from_state(state, prompts)
    while progress.lanes or progress.cursor < len(prompts):
        progress = yield from cycle.turn_lanes(progress)
        yield cycle.ended(progress)
    if not progress.done:
        yield from cycle.evaluate("held_out_after")
        yield cycle.ended(replace(progress, round=progress.round + 1, done=True))


@dataclass(frozen=True)
class _Cycle:
    prompts: Sequence[Prompt]
    static: tuple[Demonstration, ...]
    held_out: Sequence[Prompt]
    policy: Policy
    judge: Judge
    config: CycleConfig

    def evaluate(self, stage: str) -> Iterator[Event]:
        """Score the held-out prompts, if there are any."""
        if self.held_out:
            yield Phase("evaluating")
            yield from score_held_out(
                stage,
                self.held_out,
                self.policy,
                self.judge,
                seed=self.config.seed,
                samples=self.config.held_out_samples,
                batch=self.config.concurrency * self.config.candidates,
            )

    def ended(self, progress: Progress) -> RoundEnded:
        """Tell where the run is."""
        state = progress.to_state()
        return RoundEnded(progress.round, self.policy.version, state, done=progress.done)

    def turn_lanes(self, before: Progress) -> Generator[Event, None, Progress]:
        """One round: every lane turns once, in the order of its prompts."""
        refilled = before.refilled(self.prompts, self.config.concurrency)
        progress = replace(refilled, round=before.round + 1)
        yield Phase("sampling")
        turns = self._sample(progress)
        yield Phase("judging")
        verdicts = [self._ask(turn) for turn in turns]
        yield Phase("learning")
        going_on: list[Lane] = []
        for turn, verdict in zip(turns, verdicts, strict=True):
            iterated = self._learn(turn, verdict)
            yield iterated
            lane = turn.lane.turned(iterated.demonstration)
            agreed = iterated.outcome is Outcome.AGREED
            if agreed or lane.iteration == self.config.iterations:
                yield StepEnded(lane.prompt.step, progress.round, lane.iteration, agreed)
            else:
                going_on.append(lane)
        return replace(progress, lanes=tuple(going_on))

    def _sample(self, progress: Progress) -> list[Turn]:
        """Sample all lanes in one batch and measure every belief before anything is learnt."""
        requests = [self._request(lane) for lane in progress.lanes]
        drawn = zip(progress.lanes, self.policy.sample(requests), strict=True)
        return [self._turn(lane, progress.round, tuple(samples)) for lane, samples in drawn]

    def _request(self, lane: Lane) -> SampleRequest:
        at = place(lane)
        ks = range(self.config.candidates)
        return SampleRequest(lane.prompt, tuple(sampling_seed(self.config.seed, at, k) for k in ks))

    def _turn(self, lane: Lane, round_: int, samples: tuple[Sample, ...]) -> Turn:
        reads = self.judge.traits.reads_demonstrations
        beliefs = self._beliefs(lane.prompt, samples)
        return make_turn(
            lane,
            round_,
            samples,
            beliefs,
            permutation(self.config.seed, place(lane), len(beliefs), "present"),
            (*self.static, *lane.demonstrations) if reads else (),
            wants_response=self.config.teacher and self.judge.traits.writes_response,
        )

    def _beliefs(self, prompt: Prompt, samples: tuple[Sample, ...]) -> dict[int, float]:
        ks = distinct(samples)
        if self.config.belief == "sampling":
            return {k: samples[k].logprob / len(samples[k].tokens) for k in ks}
        scores = self.policy.score(prompt, [samples[k] for k in ks]) if ks else []
        return dict(zip(ks, scores, strict=True))

    def _ask(self, turn: Turn) -> Verdict | None:
        return None if turn.question is None else self.judge.rank(turn.at, turn.question)

    def _learn(self, turn: Turn, verdict: Verdict | None) -> Iterated:
        """Update on a verdict that ranks; name what stood in the way of one that does not."""
        match verdict:
            case Ranked():
                return self._learn_ranked(turn, verdict)
            case Malformed():
                return turn.record(verdict, Outcome.UNRANKED)
            case Unanswered():
                return turn.record(verdict, Outcome.UNANSWERED)
            case None:
                return turn.record(verdict, Outcome.TOO_FEW)

    def _learn_ranked(self, turn: Turn, verdict: Ranked) -> Iterated:
        black = turn.black(verdict)
        training = self._training(turn, black, verdict.teacher)
        learned = None if training is None else self.policy.learn(training)
        agreed = same_order(black, turn.white)
        chain = agreement(black, turn.white)
        return replace(
            turn.record(verdict, _outcome(training, agreed=agreed)),
            black=black,
            agreement=chain,
            demonstration=None if agreed else self._demonstration(turn, black, chain),
            training=training,
            learned=learned,
        )

    def _training(self, turn: Turn, black: Ranking, teacher: str | None) -> TrainingRanking | None:
        asked = turn.question is not None and turn.question.wants_response
        return training_ranking(
            turn.lane.prompt,
            dict(enumerate(turn.samples)),
            {candidate.k: candidate for candidate in turn.candidates},
            black,
            teacher if asked else None,
        )

    def _demonstration(
        self, turn: Turn, black: Ranking, chain: tuple[int, ...]
    ) -> Demonstration | None:
        """What this iteration adds to the step; nothing for a judge that reads none."""
        dynamic = self.config.dynamic
        order = demonstrated_order(dynamic, black, turn.white, chain)
        if order is None or not self.judge.traits.reads_demonstrations:
            return None
        texts = {candidate.k: candidate.text for candidate in turn.candidates}
        shuffle = permutation(self.config.seed, turn.at, len(flatten(order)), "demonstrate")
        return demonstrate(turn.lane.prompt.messages, order, texts, shuffle, dynamic)


def _outcome(training: TrainingRanking | None, *, agreed: bool) -> Outcome:
    if training is None:
        return Outcome.NOTHING_ORDERED
    return Outcome.AGREED if agreed else Outcome.UPDATED
