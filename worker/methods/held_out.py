"""Held-out prompts, sampled and scored by the judge before and after training; they train nothing.

Responses are shown in the order of sampling, which is random already, without demonstrations, and
equal or empty ones are kept: the score is of what a user would get.
"""

from collections.abc import Iterator, Sequence

from worker.cycle.events import Scored
from worker.cycle.ports import Judge, Pending, Policy, SampleRequest
from worker.cycle.seeds import sampling_seed
from worker.cycle.types import At, Prompt, Question, Ranked, Sample, Verdict


def score_held_out(
    stage: str,
    prompts: Sequence[Prompt],
    policy: Policy,
    judge: Judge,
    *,
    seed: int,
    samples: int,
    batch: int,
) -> Iterator[Scored]:
    """Sample each prompt `samples` times, about `batch` sequences at once, and have them scored."""
    size = max(1, batch // samples)
    for start in range(0, len(prompts), size):
        some = prompts[start : start + size]
        places = [At(stage, prompt.step, 0) for prompt in some]
        requests = [
            SampleRequest(prompt, tuple(sampling_seed(seed, at, k) for k in range(samples)))
            for prompt, at in zip(some, places, strict=True)
        ]
        asked = [
            (places[i], some[i], tuple(drawn), _asked(places[i], some[i], drawn, judge))
            for i, drawn in policy.sample(requests)
        ]
        for at, prompt, drawn, pending in asked:
            yield _scored(at, prompt, drawn, pending.result() if pending else None)


def _asked(at: At, prompt: Prompt, samples: Sequence[Sample], judge: Judge) -> Pending | None:
    """None where the question is empty: to order a single response, without a score."""
    if len(samples) == 1 and not judge.traits.gives_scores:
        return None
    responses = tuple(sample.text for sample in samples)
    return judge.submit(at, Question(prompt.messages, responses))


def _scored(at: At, prompt: Prompt, samples: tuple[Sample, ...], verdict: Verdict | None) -> Scored:
    scores = verdict.scores if isinstance(verdict, Ranked) else None
    return Scored(at, prompt, samples, verdict, scores or ())
