"""Compares the engine with the reference loop and with TRL, side by side on the same work.

`python -m benchmarks.engine --preset quick` takes seconds. Results go to `benchmarks/results/`.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from benchmarks.measure import Comparison, broken, compare, write
from benchmarks.report import plot, table
from benchmarks.systems import find
from benchmarks.workload import Workload, changed

RESULTS = Path(__file__).parent / "results"
TRL = ("grpo:prompts=1", "grpo:prompts=16", "online_dpo:prompts=16")


@dataclass(frozen=True)
class Preset:
    """Workloads and the systems that are compared on them."""

    workloads: tuple[Workload, ...]
    systems: tuple[str, ...]
    repeats: int = 3


CPU = Workload(tuning="lora")
SMOLLM2 = Workload(
    model="smollm2", prompts=32, prompt_tokens=192, response_tokens=48, tuning="lora"
)
QUICK = Workload(
    model="tiny", prompts=4, prompt_tokens=64, response_tokens=8, judge_seconds=0.05, threads=1
)
GPU = Workload(
    model="7b",
    prompts=128,
    candidates=3,
    prompt_tokens=256,
    response_tokens=512,
    judge_seconds=2.0,
    tuning="lora",
    precision="bfloat16",
    device="cuda",
    threads=8,
)

PRESETS = {
    "cpu": Preset(
        (CPU,),
        (
            "reference",
            "reference:layout=auto",
            "engine:k=1,exact=1",
            "engine:k=4",
            "engine:k=16",
            "engine:k=16,staleness=1",
            "engine:k=16,tree=0",
            "engine:k=16,layout=own",
            "engine:k=16,update=round",
            "engine:k=32",
            "engine:k=64,staleness=1",
            *TRL,
            "limit:k=16",
            "limit:k=32",
        ),
    ),
    "slow-judge": Preset(
        (replace(CPU, judge_seconds=2.0),),
        (
            "reference",
            "engine:k=16",
            "engine:k=16,staleness=1",
            "engine:k=32",
            "engine:k=32,staleness=1",
            "engine:k=64",
            "limit:k=64",
        ),
    ),
    "smollm2": Preset(
        (SMOLLM2, replace(SMOLLM2, precision="bfloat16")),
        ("reference", "engine:k=1,exact=1", "engine:k=16", "grpo:prompts=16", "limit:k=16"),
    ),
    "quick": Preset(
        (QUICK,), ("reference", "engine:k=1,exact=1", "engine:k=4", "limit:k=4"), repeats=2
    ),
    "gpu": Preset((GPU,), ("reference", "engine:k=64", "grpo:prompts=16", "limit:k=64")),
}


def workloads(
    preset: Preset, settings: Sequence[str] = (), sweeps: Sequence[str] = ()
) -> list[Workload]:
    """The preset's workloads with `field=value` set, once for every value of `field=a,b,...`.

    Raises:
        ValueError: a field is unknown, or a text is no value of it.
    """
    axes = [[(field, value)] for field, value in map(_pair, settings)]
    axes += [[(field, one) for one in values.split(",")] for field, values in map(_pair, sweeps)]
    return [_with(each, choice) for choice in product(*axes) for each in preset.workloads]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables, and write JSON and a plot."""
    parser = _parser()
    given = parser.parse_args(arguments)
    preset = PRESETS[given.preset]
    systems = tuple(given.systems or preset.systems)
    try:
        work = workloads(preset, _settings(given), given.sweep)
        for system in systems:
            find(system)
    except ValueError as error:
        parser.error(str(error))
    name = given.name or given.preset
    done: list[Comparison] = []
    for each in work:
        done.append(compare(each, systems, given.repeats or preset.repeats))
        print(f"\n{table(done[-1], given.against)}\n", flush=True)
        # after each workload, so that a long benchmark that is stopped leaves what it has
        path = write(given.out, name, done, given.against)
    print(plot(done, given.out / f"{name}.png"))
    print(f"results: {path}")
    if any(map(broken, done)):
        raise SystemExit("what must be equal bit for bit is not; see above")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="The engine beside the reference loop and TRL.")
    parser.add_argument("--preset", choices=PRESETS, default="quick")
    parser.add_argument(
        "--systems", nargs="+", help="such as engine:k=16,tree=1 or grpo:prompts=16"
    )
    parser.add_argument("--repeats", type=int, help="interleaved; the preset's unless given")
    parser.add_argument("--prompts-count", type=int, help="how many prompts")
    parser.add_argument("--prompts", help="JSON lines of real prompts, HH-RLHF's or with `prompt`")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="of a workload")
    parser.add_argument("--sweep", nargs="+", default=[], metavar="FIELD=A,B,...")
    parser.add_argument("--against", help="a system whose ratio is shown beside the reference's")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--name", help="of the result files; the preset's unless given")
    return parser


def _settings(given: argparse.Namespace) -> list[str]:
    counts = [f"prompts={given.prompts_count}"] if given.prompts_count else []
    files = [f"prompts_file={given.prompts}"] if given.prompts else []
    return [*given.set, *counts, *files]


def _pair(text: str) -> tuple[str, str]:
    field, _, value = text.partition("=")
    if not value:
        raise ValueError(f"{text}: written field=value")
    return field, value


def _with(workload: Workload, choice: Sequence[tuple[str, str]]) -> Workload:
    for field, value in choice:
        workload = replace(workload, **changed(workload, field, value))
    return workload


if __name__ == "__main__":
    main()
