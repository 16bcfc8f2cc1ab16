"""The figures of an experiment's report, as SVG that stands in a page by itself."""

import io
import json
from collections.abc import Callable, Sequence
from math import nan

from matplotlib.figure import Figure

from app.services.measures.estimates import Estimate
from app.services.reports.experiment import ExperimentReport, RowReport
from app.services.reports.judge_quality import Accuracy, JudgeQuality

INCHES = (7.0, 3.2)
ROW_INCHES = 0.32


def gains(report: ExperimentReport, scorer: str) -> str | None:
    """Every row's gain over the start model, with its interval, raw and at equal length."""
    found = [
        (row.label, scores.gain, scores.gain_at_equal_length)
        for row in report.rows
        for scores in row.scores
        if scores.scorer == scorer and scores.gain and scores.gain_at_equal_length
    ]
    if not found:
        return None
    figure = Figure((INCHES[0], 1.2 + ROW_INCHES * len(found)), layout="constrained")
    axes = figure.subplots()
    for place, (_, raw, equal) in enumerate(found):
        _interval(axes, place - 0.12, raw, "C0", "raw" if not place else None)
        _interval(axes, place + 0.12, equal, "C1", "at equal length" if not place else None)
    axes.axvline(0, color="0.6", linewidth=1)
    axes.set_yticks(range(len(found)), [label for label, _, _ in found])
    axes.invert_yaxis()
    axes.set_xlabel(f"gain over the start model, {scorer} times 100, 95 %")
    figure.legend(loc="outside lower right", ncols=2, fontsize="small")
    return _svg(figure)


def _interval(axes: object, place: float, found: Estimate, colour: str, label: str | None) -> None:
    if found.value is None or found.low is None or found.high is None:
        return
    reach = [[found.value - found.low], [found.high - found.value]]
    axes.errorbar(found.value, place, xerr=reach, fmt="o", color=colour, label=label)  # type: ignore[attr-defined]  # matplotlib is untyped here


def by_iterations(report: ExperimentReport, scorer: str) -> str | None:
    """Scores over N, of rows that differ in nothing else: the paper's Figure 6."""
    lines = [rows for rows in _alike(report.rows) if len(rows) > 1]
    if not lines:
        return None
    figure = Figure((INCHES[0] / 2, INCHES[1]), layout="constrained")
    axes = figure.subplots()
    for rows in lines:
        totals = [_total(row, scorer) for row in rows]
        axes.plot(list(map(_iterations, rows)), totals, marker=".", label=_common(rows))
    axes.set(xlabel="N", ylabel=f"{scorer} times 100", xticks=sorted(map(_iterations, lines[0])))
    if len(lines) > 1:
        axes.legend(fontsize="x-small")
    return _svg(figure)


def _alike(rows: Sequence[RowReport]) -> list[list[RowReport]]:
    """Rows of the cycle that are scored, grouped by all that they are but N; by N in each."""
    cycles = [row for row in rows if row.scores and _iterations(row)]
    groups: dict[str, list[RowReport]] = {}
    for row in sorted(cycles, key=_iterations):
        same = row.config | {"name": "", "method": row.config["method"] | {"iterations": 0}}
        groups.setdefault(json.dumps(same, sort_keys=True), []).append(row)
    return list(groups.values())


def _total(row: RowReport, scorer: str) -> float:
    """Return NaN, which leaves a gap, where nothing was scored."""
    found = (one.total.value for one in row.scores if one.scorer == scorer)
    value = next(found, None)
    return nan if value is None else value


def _iterations(row: RowReport) -> int:
    found: int = row.config.get("method", {}).get("iterations", 0)
    return found


def _common(rows: Sequence[RowReport]) -> str:
    shared = set.intersection(*(set(row.values.items()) for row in rows))
    return ", ".join(label for axis, label in rows[0].values.items() if (axis, label) in shared)


def agreement(report: ExperimentReport) -> str | None:
    """Agreement over the run beside chance, and mean iterations: the paper's Figure 4."""
    rows = [row for row in report.rows if any(run.agreement for run in row.runs)]
    if not rows:
        return None
    figure = Figure(INCHES, layout="constrained")
    left, right = figure.subplots(1, 2)
    for row in rows:
        for axes, value in ((left, "agreement"), (right, "mean_iterations")):
            places, means = _mean_over_runs(row, value)
            axes.plot(places, means, marker=".", label=row.label)
    left.axhline(rows[0].runs[0].agreement[0].agreement_by_chance, color="0.6", linestyle=":")
    left.set(xlabel="step", ylabel="agreement, share (dotted: chance)")
    right.set(xlabel="step", ylabel="mean iterations")
    left.legend(fontsize="x-small")
    return _svg(figure)


def _mean_over_runs(row: RowReport, name: str) -> tuple[list[float], list[float]]:
    runs = [run.agreement for run in row.runs if run.agreement]
    parts = list(zip(*runs, strict=False))
    places = [(some[0].first_step + some[0].last_step) / 2 for some in parts]
    return places, [sum(getattr(part, name) for part in some) / len(some) for some in parts]


def judge_accuracy(report: ExperimentReport) -> str | None:
    """Pairs that the judge orders as the first scorer does, by iteration and over the run."""
    found = [
        (row.label, [run.judge[0] for run in row.runs if run.judge])
        for row in report.rows
        if any(run.judge for run in row.runs)
    ]
    if not found:
        return None
    figure = Figure(INCHES, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for label, judges in found:
        left.plot(*_accuracies(judges, lambda one: one.by_iteration), marker=".", label=label)
        right.plot(*_accuracies(judges, lambda one: one.over_steps), marker=".")
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    left.set(xlabel="iteration", ylabel="pairs ordered alike")
    right.set(xlabel="part of the run")
    left.legend(fontsize="x-small")
    return _svg(figure)


def _accuracies(
    judges: Sequence[JudgeQuality], parts_of: Callable[[JudgeQuality], Sequence[Accuracy]]
) -> tuple[list[int], list[float]]:
    parts = list(zip(*map(parts_of, judges), strict=False))
    means = [
        [one.pairwise.value for one in some if one.pairwise.value is not None] for some in parts
    ]
    return list(range(1, len(parts) + 1)), [sum(some) / len(some) for some in means if some]


def _svg(figure: Figure) -> str:
    """Without a date, so that equal reports give equal pages."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    whole = text.getvalue()
    return whole[whole.index("<svg") :]
