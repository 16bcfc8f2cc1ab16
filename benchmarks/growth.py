"""How cost grows: time over prompts and candidates, peak memory over prompts and lanes.

`python -m benchmarks.growth` measures the engine alone; every prompt takes two iterations, so that
the work is exactly proportional to the prompts.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.measure import compare, machine, middle
from benchmarks.workload import Workload

PROMPTS = (32, 64, 96, 128)
CANDIDATES = (2, 4, 8)
LANES = (1, 4, 16, 32)
SYSTEM = "engine:k=16"
MEGABYTE = 2**20


@dataclass(frozen=True)
class Point:
    """One size of the work."""

    at: int
    seconds: float
    peak_bytes: float


def measure(workload: Workload, system: str, at: int, repeats: int) -> Point:
    """The medians of one size."""
    found = compare(workload, [system], repeats)
    return Point(
        at,
        middle(found, system, lambda run: run.wall_seconds),
        middle(found, system, lambda run: run.peak_memory_bytes),
    )


def line(points: Sequence[Point]) -> tuple[float, float, float]:
    """Offset and slope of the least-squares line, and the largest residual as a share of it."""
    count = len(points)
    mean_x = sum(point.at for point in points) / count
    mean_y = sum(point.seconds for point in points) / count
    slope = sum((p.at - mean_x) * (p.seconds - mean_y) for p in points) / sum(
        (p.at - mean_x) ** 2 for p in points
    )
    offset = mean_y - slope * mean_x
    fitted = [offset + slope * point.at for point in points]
    worst = max(abs(p.seconds - y) / y for p, y in zip(points, fitted, strict=True))
    return offset, slope, worst


def grown(base: Workload, repeats: int) -> dict[str, list[Point]]:
    """All three sweeps."""
    return {
        "prompts": [measure(replace(base, prompts=q), SYSTEM, q, repeats) for q in PROMPTS],
        "candidates": [
            measure(replace(base, candidates=n), SYSTEM, n, repeats) for n in CANDIDATES
        ],
        "lanes": [measure(base, f"engine:k={k}", k, repeats) for k in LANES],
    }


def findings(points: dict[str, list[Point]]) -> dict[str, Any]:
    """What the sweeps say, as numbers."""
    offset, slope, residual = line(points["prompts"])
    peaks = [point.peak_bytes for point in points["prompts"]]
    first, *_, last = points["candidates"]
    lanes = points["lanes"]
    return {
        "seconds_per_prompt": slope,
        "seconds_at_none": offset,
        "largest_residual": residual,
        "time_ratio_of_candidates": {f"{last.at}/{first.at}": last.seconds / first.seconds},
        "peak_change_over_prompts": max(peaks) / min(peaks) - 1,
        "peak_megabytes_by_lanes": {point.at: point.peak_bytes / MEGABYTE for point in lanes},
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="How the engine's cost grows.")
    parser.add_argument("--model", default="13m")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    base = Workload(
        model=given.model,
        prompts=48,
        iterations=2,
        agreement=0.0,
        tuning="lora",
        threads=given.threads,
    )
    points = grown(base, given.repeats)
    found = {"machine": machine(), "findings": findings(points)}
    print(json.dumps(found["findings"], indent=1))
    found["points"] = {name: [vars(point) for point in each] for name, each in points.items()}
    (given.out / "growth.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
