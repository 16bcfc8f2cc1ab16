"""An experiment's report as a table: one line for each row and scorer."""

import csv
import io
from collections.abc import Iterator

from app.services.measures.estimates import Estimate
from app.services.reports.experiment import ExperimentReport, RowReport
from app.services.reports.row_measures import RowScores

COLUMNS = (
    *("row", "scorer", "runs", "total", "low", "high", "gain", "gain_low", "gain_high"),
    *("gain_at_equal_length", "equal_low", "equal_high", "decided", "missing"),
    *(
        "given",
        "given_change",
        "win",
        "tie",
        "lose",
        "invalid",
        "mean_tokens",
        "ended",
        "refused",
        "distinct_2",
    ),
    *("seconds", "judge_calls", "cost_micros", "config_sha256"),
)


def as_csv(report: ExperimentReport) -> str:
    """Write the rows with a header; a cell without a value is empty."""
    text = io.StringIO()
    writer = csv.writer(text)
    subsets = sorted({name for row in report.rows for one in row.scores for name in one.subsets})
    writer.writerow((*COLUMNS, *subsets))
    for row in report.rows:
        found: list[RowScores | None] = [*row.scores]
        for scores in found or [None]:
            writer.writerow([*_cells(row, scores), *_subset_cells(scores, subsets)])
    return text.getvalue()


def _cells(row: RowReport, scores: RowScores | None) -> Iterator[object]:
    yield row.label
    yield scores.scorer if scores else None
    yield len(row.runs)
    yield from _three(scores.total if scores else None)
    yield from _three(scores.gain if scores else None)
    yield from _three(scores.gain_at_equal_length if scores else None)
    yield scores.decided if scores else None
    yield scores.missing if scores else None
    yield row.given.accuracy.value if row.given else None
    yield row.given.change.value if row.given and row.given.change else None
    for name in ("win", "tie", "lose", "invalid"):
        yield getattr(row.verdicts, name, None)
    yield from _texts(row)
    yield row.seconds
    yield sum(run.judge_calls for run in row.runs)
    yield sum(run.cost_micros for run in row.runs)
    yield " ".join(run.config_sha256 or "" for run in row.runs)


def _texts(row: RowReport) -> tuple[float | None, ...]:
    texts = row.texts
    if texts is None:
        return (None,) * 4
    means = (texts.mean_tokens, texts.ended, texts.refused)
    return (*(one.value for one in means), texts.distinct_2)


def _three(found: Estimate | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if found is None else (found.value, found.low, found.high)


def _subset_cells(scores: RowScores | None, subsets: list[str]) -> Iterator[float | None]:
    for name in subsets:
        yield scores.subsets[name].value if scores and name in scores.subsets else None
