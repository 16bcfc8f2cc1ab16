"""Runs systems side by side: every run in a process of its own, repeats interleaved.

`python -m benchmarks.measure` is one run, as the parent starts it.
"""

import argparse
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.children import command, environment
from benchmarks.judge import running_judge
from benchmarks.systems import UnavailableError, find
from benchmarks.workload import Measured, Workload

REFERENCE = "reference"
PACKAGES = ("torch", "transformers", "peft", "accelerate", "trl", "vllm", "liger-kernel")
TAIL = 600
"""Characters of a failed run's last words that are kept."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """One run of one system, or why there is none."""

    system: str
    repeat: int
    load_average: float
    """Of the machine over the last minute, when the run began."""
    measured: Measured | None = None
    absent: str = ""


@dataclass(frozen=True)
class Comparison:
    """All runs of all systems on one workload."""

    workload: Workload
    systems: tuple[str, ...]
    runs: tuple[Run, ...]

    def measured(self, system: str) -> list[Measured]:
        """The runs of a system that came to an end, in order."""
        return [run.measured for run in self.runs if run.system == system and run.measured]

    def absence(self, system: str) -> str:
        """Why a system was not measured; empty if it was."""
        return next((run.absent for run in self.runs if run.system == system and run.absent), "")


def compare(
    workload: Workload, systems: Sequence[str], repeats: int, *, say: Say = print
) -> Comparison:
    """Measure A, B, C, A, B, C, ...; a system that cannot run is not tried again."""
    runs: list[Run] = []
    for repeat in range(repeats):
        for system in systems:
            if any(run.system == system and run.absent for run in runs):
                continue
            run = measure(system, workload, repeat)
            runs.append(run)
            say(_line(run))
    return Comparison(workload, tuple(systems), tuple(runs))


def measure(system: str, workload: Workload, repeat: int = 0) -> Run:
    """One run in a fresh process, with a judge of its own whose latencies the repeat keys."""
    load = os.getloadavg()[0]
    with (
        running_judge(workload.judge_seconds, latency_seed=repeat) as judge_url,
        tempfile.TemporaryDirectory() as folder,
    ):
        result = Path(folder) / "result.json"
        ended = subprocess.run(  # noqa: S603 - an argument list of our own, no shell
            _child(system, workload, judge_url, result),
            env=environment(workload.threads),
            capture_output=True,
            text=True,
            check=False,
        )
        if not result.exists():
            return Run(system, repeat, load, absent=f"failed: {ended.stderr.strip()[-TAIL:]}")
        found = json.loads(result.read_text())
    if "absent" in found:
        return Run(system, repeat, load, absent=found["absent"])
    notes = tuple(found.pop("notes"))
    return Run(system, repeat, load, Measured(**{**found, "system": system}, notes=notes))


def rate(comparison: Comparison, system: str) -> float:
    """Median samples a second; 0 where nothing was measured."""
    return middle(comparison, system, lambda each: each.samples_per_second)


def middle(comparison: Comparison, system: str, of: Callable[[Measured], float]) -> float:
    """The median over a system's runs; 0 where nothing was measured."""
    values = [of(each) for each in comparison.measured(system)]
    return median(values) if values else 0.0


def spread(comparison: Comparison, system: str) -> float:
    """Slowest minus fastest wall time, as a share of the median."""
    walls = [each.wall_seconds for each in comparison.measured(system)]
    return (max(walls) - min(walls)) / median(walls) if walls else 0.0


def ratio(comparison: Comparison, system: str, to: str) -> float | None:
    """The median, over repeats, of samples a second by those of another system in that repeat."""
    pairs = zip(comparison.measured(system), comparison.measured(to), strict=False)
    ratios = [ours.samples_per_second / theirs.samples_per_second for ours, theirs in pairs]
    return median(ratios) if ratios else None


def differing(comparison: Comparison) -> list[str]:
    """Systems whose repeats ought to agree bit for bit, and did not."""
    return [
        system
        for system in comparison.systems
        if len({each.digest for each in comparison.measured(system) if each.digest}) > 1
    ]


def agreeing(comparison: Comparison) -> list[list[str]]:
    """Groups of several systems that ended with the same bits in their first runs."""
    groups: dict[str, list[str]] = {}
    for system in comparison.systems:
        for first in comparison.measured(system)[:1]:
            groups.setdefault(first.digest, []).append(system)
    return [group for digest, group in groups.items() if digest and len(group) > 1]


def broken(comparison: Comparison) -> list[str]:
    """What must be equal bit for bit and is not: repeats of a system, and one exact lane."""
    found = [f"{system}: repeats differ bit for bit" for system in differing(comparison)]
    exact = [each for each in comparison.systems if "k=1," in f"{each}," and "exact=1" in each]
    bits = next((run.digest for run in comparison.measured(REFERENCE)), "")
    unlike = [each for each in exact for run in comparison.measured(each) if run.digest != bits]
    return found + [f"{each} differs from {REFERENCE} bit for bit" for each in unlike if bits]


def summary(comparison: Comparison, against: str | None = None) -> dict[str, dict[str, Any]]:
    """Per system: medians of all figures, spread and ratios."""
    return {
        system: _figures(comparison, system, against)
        for system in comparison.systems
        if comparison.measured(system)
    }


def machine() -> dict[str, Any]:
    """Where and with what this was measured."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def write(
    folder: Path, name: str, comparisons: Sequence[Comparison], against: str | None = None
) -> Path:
    """Write everything, runs included, to `<folder>/<name>.json`."""
    written = [_written(each) | {"summary": summary(each, against)} for each in comparisons]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    content = {"name": name, "machine": machine(), "against": against, "comparisons": written}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def _written(comparison: Comparison) -> dict[str, Any]:
    """Of a file of prompts its name: folders differ from machine to machine."""
    whole = asdict(comparison)
    workload = whole["workload"]
    return whole | {"workload": workload | {"prompts_file": Path(workload["prompts_file"]).name}}


def outcome(system: str, workload: Workload, judge_url: str) -> dict[str, Any]:
    """The figures of one run in this process, or under `absent` why there are none."""
    import torch  # noqa: PLC0415 - the parent needs none

    torch.set_num_threads(workload.threads)
    try:
        return asdict(find(system)(workload, judge_url))
    except UnavailableError as error:
        return {"absent": str(error)}


def main() -> None:
    """Run one system and leave its figures in a file."""
    parser = argparse.ArgumentParser(description="One run of one system.")
    parser.add_argument("--system", required=True)
    parser.add_argument("--workload", required=True, help="as JSON")
    parser.add_argument("--judge", required=True, help="base URL")
    parser.add_argument("--result", required=True, type=Path)
    given = parser.parse_args()
    found = outcome(given.system, Workload(**json.loads(given.workload)), given.judge)
    given.result.write_text(json.dumps(found))


def _child(system: str, workload: Workload, judge_url: str, result: Path) -> list[str]:
    as_json = json.dumps(asdict(workload))
    given = ["--system", system, "--workload", as_json, "--judge", judge_url]
    return command("benchmarks.measure", *given, "--result", str(result))


def _figures(comparison: Comparison, system: str, against: str | None) -> dict[str, Any]:
    runs = comparison.measured(system)
    figures = {
        name: median(_all_figures(run)[name] for run in runs) for name in _all_figures(runs[0])
    }
    others = {"to_reference": REFERENCE, **({"to_named": against} if against else {})}
    ratios = {name: ratio(comparison, system, other) for name, other in others.items()}
    return {"repeats": len(runs), "spread": spread(comparison, system), **figures, **ratios}


def _all_figures(run: Measured) -> dict[str, float]:
    counted = {name: value for name, value in asdict(run).items() if isinstance(value, int | float)}
    wall = run.wall_seconds
    return {
        **counted,
        "samples_per_second": run.samples_per_second,
        "prompt_iterations_per_second": run.prompt_iterations / wall,
        "generated_tokens_per_second": run.generated_tokens / wall,
        "trained_tokens_per_second": run.trained_tokens / wall,
        "judge_wait_share": run.judge_wait_share,
    }


def _line(run: Run) -> str:
    if not run.measured:
        return f"{run.system}: {run.absent}"
    found = run.measured
    return (
        f"{run.system}: {found.wall_seconds:.2f} s, {found.samples_per_second:.2f} samples/s "
        f"(repeat {run.repeat}, load {run.load_average:.1f})"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
