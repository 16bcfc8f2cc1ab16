"""All randomness of a run, derived from the job's seed and a place: a resumed run draws alike."""

import hashlib
import json
import random

from worker.cycle.types import At

_BITS = 63  # a signed bigint and torch.Generator both hold it


def derive(job_seed: int, *parts: str | int) -> int:
    """A 63-bit number that depends on nothing but the job's seed and these parts."""
    canonical = json.dumps([job_seed, *parts], separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - _BITS)


def sampling_seed(job_seed: int, at: At, k: int) -> int:
    """Seed of the k-th sample at a place."""
    return derive(job_seed, "sample", at.stage, at.step, at.iteration, k)


def permutation(job_seed: int, at: At, n: int, purpose: str) -> tuple[int, ...]:
    """A uniform permutation of range(n) for one purpose at a place (Fisher-Yates).

    It draws with `random()`, the one method whose sequence Python promises to keep.
    """
    seed = derive(job_seed, purpose, at.stage, at.step, at.iteration)
    draw = random.Random(seed)  # noqa: S311 - shuffling responses needs no secrecy
    order = list(range(n))
    for last in range(n - 1, 0, -1):
        other = int(draw.random() * (last + 1))
        order[last], order[other] = order[other], order[last]
    return tuple(order)
