"""The physical limit as a system: what this machine, calibrated at this moment, needs at least.

Measured beside the others in the same run, so that `--against limit` shows each one's efficiency.
"""

from benchmarks.limit import calibrate, limit_of
from benchmarks.models import build_for
from benchmarks.prompts import prompts_for, token_ids
from benchmarks.workload import Measured, Workload
from worker.cycle.meter import pairs
from worker.whitebox.limit import Limit

SECONDS = 1.0
"""For each kind of measurement."""


def run(workload: Workload, judge_url: str, k: str = "16") -> Measured:
    """Calibrate, and tell the least time of the workload with `k` prompts decoded at once."""
    del judge_url  # hidden behind the rest
    limit = limit_of(calibrate(workload, seconds=SECONDS), int(k) * workload.candidates)
    _, tokenizer = build_for(workload)
    lengths = [len(token_ids(tokenizer, p.messages)) for p in prompts_for(workload, tokenizer)]
    places = [(i, t) for i in range(workload.prompts) for t in range(workload.iterations_of(i))]
    responses = [
        [workload.length_of(i, t + 1, n) for n in range(workload.candidates)] for i, t in places
    ]
    prompts = [lengths[i] for i, _ in places]
    generated = sum(map(sum, responses))
    return Measured(
        system="limit",
        wall_seconds=_seconds(limit, prompts, responses),
        cpu_seconds=0.0,
        peak_memory_bytes=0,
        prompt_iterations=len(places),
        samples=len(places) * workload.candidates,
        generated_tokens=generated,
        trained_tokens=sum(prompts) + generated,
        optimizer_steps=len(places),
        notes=(f"the least time with {k} prompts decoded at once; nothing was run",),
    )


def _seconds(limit: Limit, prompts: list[int], responses: list[list[int]]) -> float:
    generated = sum(map(sum, responses))
    return limit.seconds(
        sum(prompts),
        generated,
        sum(prompts),
        generated,
        len(prompts),
        prompt_pairs=sum(map(pairs, prompts)),
        trained_pairs=sum(pairs(p, r) for p, r in zip(prompts, responses, strict=True)),
    )
