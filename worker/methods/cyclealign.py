"""CycleAlign (arXiv 2310.16271, section 3): both boxes rank, agree and teach each other.

Where the paper is silent or we depart from it:
1. Many prompts are in flight as lanes; a round samples each once under the same weights, asks the
   judge about a prompt as soon as its responses are complete, then trains on them one by one, in
   the order in which they were completed. One lane is the paper's serial loop.
2. Responses are sampled anew in each iteration, and equal or empty ones do not reach the judge.
3. The belief is that of the weights that sampled; the update comes before the equality test.
4. An agreement of two or more becomes a demonstration, re-indexed and shuffled.
5. A ranking that cannot be read skips its update; the iteration counts.
6. A judge may be asked in several orders of presentation; their verdicts make one ranking, and the
   first order's teacher response counts.
7. With `staleness` 1 the lanes are two cohorts: one is sampled, then the other, which the judge has
   had a round's time to rank, is learnt from. `update: per_round` takes one step a round.
"""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from worker.cycle.demos import Dynamic
from worker.cycle.events import Event, Iterated, Outcome, Phase, RoundEnded, StepEnded
from worker.cycle.lanes import Lane, Progress, Sampled, from_state
from worker.cycle.noise import with_noise
from worker.cycle.orders import aggregated
from worker.cycle.ports import Judge, Pending, Policy, SampleRequest, State
from worker.cycle.seeds import permutation, sampling_seed
from worker.cycle.turn import Turn, distinct, make_turn, place
from worker.cycle.types import (
    At,
    Demonstration,
    Prompt,
    Sample,
    Verdict,
)
from worker.methods.comparing import judged
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
    update: Literal["per_prompt", "per_round"] = "per_prompt"
    """One optimizer step for each prompt of a round, or one for the mean of them all."""
    staleness: Literal[0, 1] = 0
    """Rounds that samples may wait for the judge before they are learnt from."""
    teacher: bool = True
    """Whether a judge that can write is asked for a better response."""
    dynamic: Dynamic = "agreement"
    belief: Literal["sampling", "scoring"] = "sampling"
    """Whether the belief is of the logits of sampling, or of a scoring pass before the updates."""
    orders: int = 1
    """Presentation orders of each question, but no more than it has candidates."""
    noise: float = 0.0
    """Share of the judge's rankings that give way to random orders: a degraded judge."""
    held_out_samples: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers under which there is no cycle."""
        least = {
            "iterations": 1,
            "candidates": 2,
            "concurrency": 1,
            "orders": 1,
            "held_out_samples": 1,
        }
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} must be {bound} or more, not {getattr(self, name)}")
        if self.staleness and self.concurrency == 1:
            raise ValueError("staleness 1 needs two lanes or more: one is sampled meanwhile")

    @property
    def cohort(self) -> int:
        """Most lanes sampled in a round."""
        return math.ceil(self.concurrency / 2) if self.staleness else self.concurrency


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
    while progress.lanes or progress.sampled or progress.cursor < len(prompts):
        progress = yield from cycle.turn_lanes(progress)
        yield cycle.ended(progress)
    if not progress.done:
        yield from cycle.evaluate("held_out_after")
        yield cycle.ended(replace(progress, round=progress.round + 1, done=True))


@dataclass(frozen=True)
class _Flight:
    """A turn with its questions on the way, one an order; none where there is nothing to ask."""

    turn: Turn
    pendings: tuple[Pending, ...]


@dataclass(frozen=True)
class _Cycle:
    prompts: Sequence[Prompt]
    static: tuple[Demonstration, ...]
    held_out: Sequence[Prompt]
    policy: Policy
    judge: Judge
    config: CycleConfig
    flights: dict[At, _Flight] = field(default_factory=dict)
    """The cohort that waits; a resumed run asks again and finds the answers in the ledger."""

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
        """One round: sample the free lanes, learn from those whose turn it is."""
        refilled = before.refilled(self.prompts, self.config.cohort)
        progress = replace(refilled, round=before.round + 1)
        yield Phase("sampling")
        fresh = self._sample(progress)
        if not self.config.staleness:
            lanes = yield from self._learn(fresh, progress.round)
            return replace(progress, lanes=lanes)
        self.flights.update({flight.turn.at: flight for flight in fresh})
        due = [self._flown(sampled, progress.round) for sampled in before.sampled]
        lanes = yield from self._learn(due, progress.round)
        return replace(progress, lanes=lanes, sampled=tuple(_sampled(flight) for flight in fresh))

    def _sample(self, progress: Progress) -> list[_Flight]:
        """Sample all lanes in one batch; ask about each as soon as it is complete."""
        requests = [self._request(lane) for lane in progress.lanes]
        flights = []
        for index, samples in self.policy.sample(requests):
            turn = self._turn(progress.lanes[index], progress.round, tuple(samples))
            flights.append(self._asked(turn))
        return self._believed(flights)

    def _request(self, lane: Lane) -> SampleRequest:
        at = place(lane)
        ks = range(self.config.candidates)
        return SampleRequest(lane.prompt, tuple(sampling_seed(self.config.seed, at, k) for k in ks))

    def _turn(self, lane: Lane, round_: int, samples: tuple[Sample, ...]) -> Turn:
        reads = self.judge.traits.reads_demonstrations
        return make_turn(
            lane,
            round_,
            samples,
            lambda n: permutation(self.config.seed, place(lane), n, "present"),
            (*self.static, *lane.demonstrations) if reads else (),
            wants_response=self.config.teacher and self.judge.traits.writes_response,
        )

    def _asked(self, turn: Turn) -> _Flight:
        questions = turn.questions(self.config.orders)
        return _Flight(turn, tuple(self.judge.submit(turn.at, one) for one in questions))

    def _believed(self, flights: list[_Flight]) -> list[_Flight]:
        """Measure every belief under the weights that sampled, before anything is learnt."""
        if self.config.belief == "sampling":
            means = [[s.logprob / len(s.tokens) for s in f.turn.answers.samples] for f in flights]
        else:
            means = self.policy.score([flight.turn.answers for flight in flights])
        return [
            replace(flight, turn=replace(flight.turn, beliefs=_by_index(flight.turn, mean)))
            for flight, mean in zip(flights, means, strict=True)
        ]

    def _flown(self, sampled: Sampled, round_: int) -> _Flight:
        flight = self.flights.pop(place(sampled.lane), None)
        if flight is None:
            flight = self._asked(self._turn(sampled.lane, round_, sampled.samples))
        return replace(flight, turn=replace(flight.turn, round=round_, beliefs=sampled.beliefs))

    def _learn(
        self, flights: Sequence[_Flight], round_: int
    ) -> Generator[Event, None, tuple[Lane, ...]]:
        """Learn from each turn in the order given; return the lanes that go on."""
        if not flights:
            return ()
        yield Phase("judging")
        self._verdicts(flights[0])
        yield Phase("learning")
        going_on: list[Lane] = []
        for iterated, turn in self._updated(flights):
            yield iterated
            lane = turn.lane.turned(iterated.demonstration)
            agreed = iterated.outcome is Outcome.AGREED
            if agreed or lane.iteration == self.config.iterations:
                yield StepEnded(lane.prompt.step, round_, lane.iteration, agreed)
            else:
                going_on.append(lane)
        return tuple(sorted(going_on, key=lambda lane: lane.prompt.step))

    def _updated(self, flights: Sequence[_Flight]) -> Iterator[tuple[Iterated, Turn]]:
        """Take the optimizer steps, each as soon as the verdicts that it needs are there."""
        size = len(flights) if self.config.update == "per_round" else 1
        for start in range(0, len(flights), size):
            some = flights[start : start + size]
            ranked = [self._judged(flight) for flight in some]
            rankings = [one.training for one in ranked if one.training is not None]
            learned = iter(self.policy.learn(rankings) if rankings else ())
            for flight, one in zip(some, ranked, strict=True):
                yield (replace(one, learned=next(learned)) if one.training else one), flight.turn

    def _judged(self, flight: _Flight) -> Iterated:
        reads = self.judge.traits.reads_demonstrations
        dynamic = self.config.dynamic if reads else "none"
        seed, at = self.config.seed, flight.turn.at
        orders = flight.turn.orders(self._verdicts(flight))
        verdict = with_noise(aggregated(orders), self.config.noise, seed, at)
        return replace(judged(flight.turn, verdict, dynamic, seed), orders=orders)

    def _verdicts(self, flight: _Flight) -> list[Verdict]:
        """Wait for the judge, and use the time."""
        alone = self.config.update == "per_prompt" and not flight.turn.wants_response
        if alone and not all(one.done() for one in flight.pendings):
            self.policy.foresee(flight.turn.answers)
        return [one.result() for one in flight.pendings]


def _by_index(turn: Turn, means: Sequence[float]) -> dict[int, float]:
    return dict(zip(distinct(turn.samples), means, strict=True))


def _sampled(flight: _Flight) -> Sampled:
    turn = flight.turn
    return Sampled(turn.lane, turn.samples, turn.beliefs)
