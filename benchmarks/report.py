"""What was measured, as a table to read and a plot to look at."""

import importlib.util
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.measure import Comparison, agreeing, broken, rate, summary
from benchmarks.workload import Workload

HEAD = (
    "system",
    "wall s",
    "s/iteration",
    "samples/s",
    "gen tok/s",
    "train tok/s",
    "judge %",
    "cpu s",
    "peak MB",
    "steps",
    "spread",
    "x reference",
)
SHOWN = ("model", "prompts", "candidates", "prompt_tokens", "response_tokens", "iterations")
MEGABYTE = 2**20
PAPER_PROMPTS = 1000
PAPER_ITERATIONS = 5


def table(comparison: Comparison, against: str | None = None) -> str:
    """The medians of one workload, a row a system, with what could not be measured below."""
    head = [*HEAD, *([f"x {against}"] if against else [])]
    figures = summary(comparison, against)
    body = [_row(system, figures[system], against) for system in figures]
    absent = [
        f"{system}: {why}" for system in comparison.systems if (why := comparison.absence(system))
    ]
    remarks = [*_notes(comparison), *absent, *_bits(comparison), *_projected(comparison, figures)]
    return "\n".join([title(comparison.workload), *_columns([head, *body]), *remarks])


def title(workload: Workload) -> str:
    """The workload in a line."""
    sizes = ", ".join(f"{name} {getattr(workload, name)}" for name in SHOWN)
    return (
        f"{sizes}, judge {workload.judge_seconds:g} s, {workload.tuning}, "
        f"{workload.precision}, {workload.threads} threads on {workload.device}"
    )


def plot(comparisons: Sequence[Comparison], path: Path) -> str:
    """Draw samples a second into a PNG; says where it is, or why there is none.

    Workloads that differ in one number are drawn as lines over it, others as a panel of bars each.
    """
    if importlib.util.find_spec("matplotlib") is None:
        return "no plot: matplotlib is not installed"
    from matplotlib.figure import Figure  # noqa: PLC0415 - benchmarks do without it

    swept = swept_field([each.workload for each in comparisons])
    panels = 1 if swept else len(comparisons)
    figure = Figure(figsize=(8, 3.2 * panels), layout="constrained")
    axes = figure.subplots(panels, squeeze=False)[:, 0]
    if swept:
        _lines(axes[0], comparisons, swept)
    else:
        for each, ax in zip(comparisons, axes, strict=True):
            _bars(ax, each)
    figure.savefig(path, dpi=150)
    return f"plot: {path}"


def swept_field(workloads: Sequence[Workload]) -> str | None:
    """The one numeric field in which three workloads or more differ, if it is only one."""
    records = [asdict(each) for each in workloads]
    varying = [name for name in records[0] if len({record[name] for record in records}) > 1]
    few = 3
    if len(records) < few or len(varying) != 1:
        return None
    return varying[0] if isinstance(records[0][varying[0]], int | float) else None


def _notes(comparison: Comparison) -> list[str]:
    """What the systems say of their runs, each thing once."""
    said = [
        f"{system}: {note}"
        for system in comparison.systems
        for run in comparison.measured(system)
        for note in run.notes
    ]
    return list(dict.fromkeys(said))


def _bits(comparison: Comparison) -> list[str]:
    alike = [f"equal bit for bit: {', '.join(group)}" for group in agreeing(comparison)]
    return alike + [f"FAILED: {each}" for each in broken(comparison)]


def _projected(comparison: Comparison, figures: dict[str, dict[str, Any]]) -> list[str]:
    """The paper's run, 1,000 prompts of at most five iterations, at the rates measured here."""
    agreement = comparison.workload.agreement
    if not 0 < agreement < 1:
        return []
    expected = (1 - (1 - agreement) ** PAPER_ITERATIONS) / agreement
    return [
        f"{system}: {PAPER_PROMPTS} prompts x {expected:.2f} iterations x {each:.3f} s = "
        f"{PAPER_PROMPTS * expected * each / 60:.1f} min"
        for system, found in figures.items()
        if system.partition(":")[0] in {"reference", "engine", "limit"}
        for each in [found["wall_seconds"] / found["prompt_iterations"]]
    ]


def _row(system: str, figures: dict[str, Any], against: str | None) -> list[str]:
    iterations = figures["prompt_iterations"]
    ratios = [figures["to_reference"], *([figures["to_named"]] if against else [])]
    return [
        system,
        f"{figures['wall_seconds']:.2f}",
        f"{figures['wall_seconds'] / iterations:.3f}" if iterations else "-",
        f"{figures['samples_per_second']:.2f}",
        f"{figures['generated_tokens_per_second']:.0f}",
        f"{figures['trained_tokens_per_second']:.0f}",
        f"{100 * figures['judge_wait_share']:.1f}",
        f"{figures['cpu_seconds']:.1f}",
        f"{figures['peak_memory_bytes'] / MEGABYTE:.0f}",
        f"{figures['optimizer_steps']:.0f}",
        f"{100 * figures['spread']:.0f} %",
        *("-" if each is None else f"{each:.2f}" for each in ratios),
    ]


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _measured_systems(comparison: Comparison) -> list[str]:
    return [system for system in comparison.systems if comparison.measured(system)]


def _bars(ax: Any, comparison: Comparison) -> None:
    systems = _measured_systems(comparison)
    bars = ax.barh(systems[::-1], [rate(comparison, system) for system in systems[::-1]])
    ax.bar_label(bars, fmt="%.2f", padding=3)
    ax.set_xlabel("samples/s, median")
    ax.set_title(title(comparison.workload), fontsize=7)


def _lines(ax: Any, comparisons: Sequence[Comparison], field: str) -> None:
    for system in comparisons[0].systems:
        drawn = [each for each in comparisons if each.measured(system)]
        places = [getattr(each.workload, field) for each in drawn]
        ax.plot(places, [rate(each, system) for each in drawn], marker="o", label=system)
    ax.set_xlabel(field.replace("_", " "))
    ax.set_ylabel("samples/s, median")
    ax.legend(fontsize=7)
