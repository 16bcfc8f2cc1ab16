"""An experiment's report as one HTML page that opens without a server."""

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from app.services.measures.estimates import Estimate
from app.services.reports.experiment import ExperimentReport
from app.web import plots


def as_html(report: ExperimentReport) -> str:
    """Write the page: tables, figures and how the harness differs from the paper's."""
    pages = Environment(
        loader=PackageLoader("app.web"),
        undefined=StrictUndefined,
        autoescape=select_autoescape(),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"interval": interval, "figure": figure}
    return pages.get_template("experiment.html").render(
        report=report,
        judges=sorted({one.scorer for row in report.rows for run in row.runs for one in run.judge}),
        subsets=sorted({name for row in report.rows for s in row.scores for name in s.subsets}),
        figures=[
            *((f"Gain by {scorer}", plots.gains(report, scorer)) for scorer in report.scorers),
            *(
                (f"{scorer} over N (the paper's Figure 6)", plots.by_iterations(report, scorer))
                for scorer in report.scorers
            ),
            ("Agreement over the run (the paper's Figure 4)", plots.agreement(report)),
            ("The judge beside the first scorer (Figures 3 and 5)", plots.judge_accuracy(report)),
        ],
    )


def interval(found: Estimate | None, digits: int = 2) -> str:
    """Write a number with its interval, or a dash."""
    if found is None or found.value is None:
        return "-"
    if found.low is None or found.high is None:
        return f"{found.value:.{digits}f}"
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def figure(svg: str) -> Markup:
    """Let a drawing of ours stand as it is."""
    return Markup(svg)  # noqa: S704 - matplotlib escapes the labels in it
