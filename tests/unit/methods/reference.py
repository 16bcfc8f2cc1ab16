"""The serial loop of CycleAlign as a reader of the paper would write it, to hold the method to.

It shares nothing with the method but the records, the ports and the derived seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, groupby, pairwise, permutations

from worker.cycle.ports import Answers, Judge, Policy, SampleRequest
from worker.cycle.seeds import permutation, sampling_seed
from worker.cycle.types import (
    At,
    Demonstration,
    Learned,
    Prompt,
    Question,
    Ranked,
    Ranking,
    Sample,
    TrainingRanking,
)


@dataclass(frozen=True)
class Turned:
    """One iteration that the judge ranked."""

    at: At
    question: Question
    white: Ranking
    black: Ranking
    training: TrainingRanking | None
    learned: Learned | None


def reference(  # noqa: PLR0913, PLR0915 - the knobs of the paper by name, its loop in one piece
    prompts: Sequence[Prompt],
    static: tuple[Demonstration, ...],
    policy: Policy,
    judge: Judge,
    *,
    seed: int,
    iterations: int,
    candidates: int,
    teacher: bool = False,
    scoring: bool = False,
) -> list[Turned]:
    """Run the loop of the paper's section 3 for one prompt after the other."""
    turned = []
    reads, writes = judge.traits.reads_demonstrations, judge.traits.writes_response
    for prompt in prompts:
        demos = static if reads else ()
        for iteration in range(iterations):
            at = At("align", prompt.step, iteration)
            seeds = tuple(sampling_seed(seed, at, k) for k in range(candidates))
            samples = _distinct(dict(policy.sample([SampleRequest(prompt, seeds)]))[0])
            if len(samples) < 2:
                continue
            belief = {k: s.logprob / len(s.tokens) for k, s in samples.items()}
            if scoring:
                answers = Answers(prompt, tuple(samples.values()))
                belief = dict(zip(belief, policy.score([answers])[0], strict=True))
            white = {k: sum(b > belief[k] for b in belief.values()) for k in belief}
            shown = [list(samples)[i] for i in permutation(seed, at, len(samples), "present")]
            responses = tuple(samples[k].text for k in shown)
            question = Question(prompt.messages, responses, demos, teacher and writes)
            verdict = judge.submit(at, question).result()
            if not isinstance(verdict, Ranked):
                continue
            black = {shown[i]: p for p, group in enumerate(verdict.ranking) for i in group}
            training = _training(
                prompt, samples, black, belief, verdict.teacher if teacher and writes else None
            )
            learned = policy.learn([training])[0] if training else None
            turned.append(Turned(at, question, _groups(white), _groups(black), training, learned))
            if _identical(black, white):
                break
            chain = _longest_common(black, white)
            if reads and len(chain) > 1:
                order = [chain[i] for i in permutation(seed, at, len(chain), "demonstrate")]
                texts = tuple(samples[k].text for k in order)
                demos = (*demos, _demonstration(prompt, texts, [order.index(k) for k in chain]))
    return turned


def _demonstration(prompt: Prompt, texts: tuple[str, ...], answer: list[int]) -> Demonstration:
    return Demonstration(prompt.messages, texts, tuple((i,) for i in answer), "agreement")


def _distinct(samples: Sequence[Sample]) -> dict[int, Sample]:
    """By index, without empty ones and without those equal to an earlier one."""
    texts = [_plain(sample.text) for sample in samples]
    return {k: samples[k] for k, text in enumerate(texts) if text and text not in texts[:k]}


def _plain(text: str) -> str:
    return " ".join(text.split())


def _groups(places: dict[int, int]) -> Ranking:
    order = sorted(places, key=lambda k: (places[k], k))
    return tuple(tuple(group) for _, group in groupby(order, key=lambda k: places[k]))


def _identical(black: dict[int, int], white: dict[int, int]) -> bool:
    pairs = [(black[i] - black[j]) * (white[i] - white[j]) for i, j in combinations(black, 2)]
    return min(pairs) >= 0 and max(pairs) > 0


def _longest_common(black: dict[int, int], white: dict[int, int]) -> tuple[int, ...]:
    """By brute force: the longest chain rising in both, highest in black, then in white."""
    chains = [
        chain
        for length in range(1, len(black) + 1)
        for chain in permutations(black, length)
        if all(black[i] < black[j] and white[i] < white[j] for i, j in pairwise(chain))
    ]
    return min(
        chains, key=lambda c: (-len(c), [black[k] for k in c], [white[k] for k in c], list(c))
    )


def _training(
    prompt: Prompt,
    samples: dict[int, Sample],
    black: dict[int, int],
    belief: dict[int, float],
    teacher: str | None,
) -> TrainingRanking | None:
    """The black box's order under the teacher's response, or with the teacher's twin on top."""
    better = _plain(teacher or "")
    twins = [k for k, sample in samples.items() if _plain(sample.text) == better]
    places = black | dict.fromkeys(twins, -1)
    order = [k for group in _groups(places) for k in group]
    rows = [(places[k], samples[k].text, samples[k].tokens, belief[k]) for k in order]
    top = max((row for row in rows if row[0] == rows[0][0]), key=lambda row: row[3])
    target, ranks = rows.index(top), [row[0] for row in rows]
    texts = tuple(row[1] for row in rows)
    tokens: tuple[tuple[int, ...] | None, ...] = tuple(row[2] for row in rows)
    if better and not twins:
        texts, tokens = (str(teacher).strip(), *texts), (None, *tokens)
        ranks, target = [-1, *ranks], 0
    groups = _groups(dict(enumerate(ranks)))
    return TrainingRanking(prompt, texts, tokens, groups, target) if len(groups) > 1 else None
