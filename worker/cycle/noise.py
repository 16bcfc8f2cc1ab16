"""A degraded judge: some of its rankings give way to random orders, in every run to the same."""

from dataclasses import replace

from worker.cycle.seeds import derive, permutation
from worker.cycle.types import At, Ranked, Verdict

_SEEDS = 1 << 63


def with_noise(verdict: Verdict | None, share: float, job_seed: int, at: At) -> Verdict | None:
    """Replace a ranking, with this probability, by a uniform permutation of what it ranks."""
    if not isinstance(verdict, Ranked):
        return verdict
    if derive(job_seed, "noise", at.stage, at.step, at.iteration) >= share * _SEEDS:
        return verdict
    ranked = sum(map(len, verdict.ranking))
    order = permutation(job_seed, at, ranked, "noisy order")
    return replace(verdict, ranking=tuple((position,) for position in order))
