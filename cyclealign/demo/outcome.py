"""What the demo ends with: a table, one prompt with both answers, and where the checkpoint is."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cyclealign.client import Client
from cyclealign.watching import clock

Json = dict[str, Any]


@dataclass(frozen=True)
class Answers:
    """One held-out prompt with an answer from before and one from after, and their scores."""

    prompt: str
    before: str
    before_score: float
    after: str
    after_score: float


@dataclass(frozen=True)
class Outcome:
    """A job that succeeded, and what was fetched of it."""

    job: Json
    answers: Answers | None
    folder: Path
    files: int
    seconds: float


def answers(client: Client, job_id: str) -> Answers | None:
    """Return the held-out prompt whose change is nearest to the mean change; None without any.

    It is the typical one, not the best one; its first sample of each side is shown.
    """
    before = _by_step(client, job_id, "held_out_before")
    after = _by_step(client, job_id, "held_out_after")
    step = typical(
        {step: _score(rows) for step, rows in before.items()},
        {step: _score(rows) for step, rows in after.items()},
    )
    if step is None:
        return None
    old, new = before[step][0], after[step][0]
    asked = old["prompt"][-1]["content"]
    return Answers(asked, old["text"], old["score"], new["text"], new["score"])


def typical(before: dict[int, float], after: dict[int, float]) -> int | None:
    """Return the step whose change of score is nearest to the mean change of all."""
    change = {step: after[step] - before[step] for step in before.keys() & after.keys()}
    if not change:
        return None
    mean = fmean(change.values())
    return min(sorted(change), key=lambda step: abs(change[step] - mean))


def verdict(before: float, after: float) -> str:
    """Say plainly what became of the held-out score."""
    change = after - before
    if change > 0:
        return f"The held-out score rose by {change:.3f}."
    if change < 0:
        return f"The held-out score FELL by {-change:.3f}: this run made the model worse."
    return "The held-out score did not change."


def render(console: Console, outcome: Outcome) -> None:
    """Print the table, the answers and the folder."""
    console.print(_table(outcome))
    held_out = outcome.job["progress"]["held_out"]
    console.print(verdict(held_out["before"]["mean"], held_out["after"]["mean"]))
    if outcome.answers is not None:
        _render_answers(console, outcome.answers)
    console.print()
    console.print(f"{outcome.files} files, each with the sha256 of its manifest, are in")
    console.print(Text(f"  {outcome.folder}/adapter", no_wrap=True), soft_wrap=True)
    console.print(Text(f"  {outcome.folder}/merged", no_wrap=True), soft_wrap=True)


def _table(outcome: Outcome) -> Table:
    job, progress = outcome.job, outcome.job["progress"]
    before, after = progress["held_out"]["before"], progress["held_out"]["after"]
    took, most = progress["mean_iterations"], progress["iterations_max"]
    agreed = f"{progress.get('agreed', 0)} of {progress['steps_done']}"
    table = Table(title="One alignment, from upload to download", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("held-out answers scored", f"{before['n']} before, {after['n']} after")
    table.add_row("mean score before", f"{before['mean']:.3f}")
    table.add_row("mean score after", f"{after['mean']:.3f}")
    table.add_row("iterations to agreement, mean", f"{took:.2f}, at most {most}")
    table.add_row("prompts that reached agreement", agreed)
    table.add_row("agreement of both rankings, mean", f"{progress['agreement_mean']:.2f}")
    table.add_row("updates of the weights", str(job["update"]))
    table.add_row("wall time of this command", clock(outcome.seconds))
    return table


def _render_answers(console: Console, shown: Answers) -> None:
    console.print()
    console.print(Text(f"A held-out prompt with a typical change: {shown.prompt}", style="bold"))
    for when, text, score in (
        ("before", shown.before, shown.before_score),
        ("after", shown.after, shown.after_score),
    ):
        console.print(f"{when} (score {score:.2f})", style="italic")
        console.print(Padding(Text(_printable(text.strip())), (0, 0, 0, 2)))


def _printable(text: str) -> str:
    """Keep a model's words from steering the terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def _by_step(client: Client, job_id: str, stage: str) -> dict[int, list[Json]]:
    found: dict[int, list[Json]] = defaultdict(list)
    for row in client.responses(job_id, stage=stage):
        if row["score"] is not None:
            found[row["step"]].append(row)
    return dict(found)


def _score(rows: list[Json]) -> float:
    return fmean(row["score"] for row in rows)
