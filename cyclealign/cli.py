"""The command line; every command imports what it needs when it runs, so that `--help` is fast."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from cyclealign import DEFAULT_URL

Json = dict[str, Any]

NOT_SUCCEEDED = 1
REFUSED = 3
INTERRUPTED = 130

Url = Annotated[
    str, typer.Option("--url", envvar="CYCLEALIGN_URL", help="Where the service answers.")
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="The stack's own folder; DATA_DIR or .cyclealign if not set."),
]

app = typer.Typer(
    name="cyclealign",
    help="Align language models with rankings from another model, by the CycleAlign method.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run a command; what the service refuses is said in plain words, with exit code 3."""
    from cyclealign.errors import ClientError  # noqa: PLC0415 - `--help` stays fast

    try:
        app()
    except ClientError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(REFUSED)


@app.command()
def up(
    port: Annotated[
        int | None, typer.Option(help="PORT or 8100 if not set; 0 takes a free one.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Start the whole stack on this machine and keep it running until Ctrl-C."""
    from rich.console import Console  # noqa: PLC0415 - `--help` stays fast

    from cyclealign.stack import keep_up  # noqa: PLC0415 - `--help` stays fast

    raise typer.Exit(keep_up(Console(), data_dir or _default_data_dir(), port))


@app.command()
def demo(data_dir: DataDir = None) -> None:
    """Align a small real model, from upload to download, and leave nothing running."""
    from rich.console import Console  # noqa: PLC0415 - `--help` stays fast

    from cyclealign.demo.demo import run_demo  # noqa: PLC0415 - `--help` stays fast

    raise typer.Exit(run_demo(Console(), data_dir or _default_data_dir()))


@app.command()
def upload(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    kind: Annotated[str, typer.Option(help="prompts, demonstrations, preferences or dialogues.")],
    name: Annotated[str | None, typer.Option(help="A label for people.")] = None,
    on_error: Annotated[str, typer.Option(help="reject the file, or skip bad rows.")] = "reject",
    url: Url = DEFAULT_URL,
) -> None:
    """Upload a dataset; every bad line is listed. Exit code 1 if the file cannot be used."""
    with _client(url) as client:
        dataset = client.upload_dataset(file, kind, name=name, on_error=on_error)
        for issue in client.dataset_issues(dataset["id"]):
            message = f"line {issue['line']}: {issue['code']}: {issue['message']}"
            typer.echo(message, err=True)
    typer.echo(f"{dataset['id']} {dataset['state']}, {dataset['row_count']} rows")
    if dataset["state"] != "ready":
        raise typer.Exit(NOT_SUCCEEDED)


@app.command()
def submit(
    spec: Annotated[str, typer.Argument(help="A JSON file; - reads standard input.")],
    wait: Annotated[bool, typer.Option("--wait", help="Watch the job until it ends.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Submit a job and print its id. With --wait the exit code is 0 only if it succeeded."""
    body = _read_spec(spec)
    with _client(url) as client:
        _follow(client, client.create_job(body), wait=wait)


@app.command()
def clone(
    job: str,
    given: Annotated[
        list[str] | None, typer.Option("--set", help="/field=value of the job, such as /seed=2.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="A checkpoint whose weights are the start.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Watch the job until it ends.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Submit a job like another one, with some new values, and print its id."""
    from cyclealign.overrides import read_overrides  # noqa: PLC0415 - `--help` stays fast

    overrides = read_overrides(given or [])
    with _client(url) as client:
        _follow(client, client.clone_job(job, overrides, checkpoint=start), wait=wait)


@app.command()
def evaluate(
    spec: Annotated[str, typer.Argument(help="A JSON file; - reads standard input.")],
    wait: Annotated[bool, typer.Option("--wait", help="Watch it until it ends.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Submit an evaluation and print its id; `report` tells what it finds."""
    body = _read_spec(spec)
    with _client(url) as client:
        _follow(client, client.create_evaluation(body), wait=wait)


@app.command()
def experiment(
    plan: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    data: Annotated[Path, typer.Option(help="The folder of the plan's files.")] = Path(),
    let: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE, for each @NAME that is no dataset.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where results are kept.")] = Path("results"),
    url: Url = DEFAULT_URL,
) -> None:
    """Run a plan's experiment and keep its report as JSON, CSV and HTML.

    What was found before is not run again, so a stopped experiment goes on where it was.
    """
    from cyclealign import plans  # noqa: PLC0415 - `--help` stays fast

    wanted = plans.read_plan(plan, data, _pairs(let or []))
    known = plans.finished(wanted, out)
    if known is not None:
        typer.echo(f"{known} holds the results of just this plan.")
        return
    with _client(url) as client:
        job = plans.submit(client, wanted)
        _follow(client, job, wait=True)
        for path in plans.keep(client, wanted, job["id"], out):
            typer.echo(str(path))


@app.command()
def report(job: str, url: Url = DEFAULT_URL) -> None:
    """Print what an evaluation, an experiment or a reward model has found so far, as JSON."""
    with _client(url) as client:
        typer.echo(json.dumps(client.report(job), ensure_ascii=False, indent=1))


@app.command()
def status(job: str, url: Url = DEFAULT_URL) -> None:
    """Print a job in one line. Exit code 1 if it failed or was cancelled."""
    from cyclealign.client import ENDED  # noqa: PLC0415 - `--help` stays fast
    from cyclealign.watching import ending_of, view_of  # noqa: PLC0415 - `--help` stays fast

    with _client(url) as client:
        found = client.job(job)
    view = view_of(found)
    if found["status"] in ENDED:
        typer.echo(ending_of(found))
    else:
        typer.echo(f"{found['id']} {found['status']}: {view.done}/{view.total}, {view.details}")
    if found["status"] in {"failed", "cancelled"}:
        raise typer.Exit(NOT_SUCCEEDED)


@app.command()
def cancel(job: str, url: Url = DEFAULT_URL) -> None:
    """Ask a job to stop."""
    _move(url, lambda client: client.cancel(job))


@app.command()
def pause(job: str, url: Url = DEFAULT_URL) -> None:
    """Ask a job to pause; a running one first keeps the round that it is in."""
    _move(url, lambda client: client.pause(job))


@app.command()
def resume(job: str, url: Url = DEFAULT_URL) -> None:
    """Let a paused job go on."""
    _move(url, lambda client: client.resume(job))


@app.command()
def retry(job: str, url: Url = DEFAULT_URL) -> None:
    """Let a failed or cancelled job go on from its newest checkpoint."""
    _move(url, lambda client: client.retry(job))


@app.command()
def rankings(job: str, url: Url = DEFAULT_URL) -> None:
    """Print both rankings of every iteration, one JSON object a line."""
    with _client(url) as client:
        for row in client.rankings(job):
            typer.echo(json.dumps(row, ensure_ascii=False))


@app.command()
def download(checkpoint: str, folder: Path, url: Url = DEFAULT_URL) -> None:
    """Download a checkpoint's weights, each file compared with its sha256; repeat to resume."""
    with _client(url) as client:
        for path in client.download_files(checkpoint, folder):
            typer.echo(str(path))


def _move(url: str, ask: Callable[[Any], Json]) -> None:
    with _client(url) as client:
        found = ask(client)
    typer.echo(f"{found['id']} {found['status']}")


def _pairs(given: list[str]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    if not all(name and sign for name, sign, _ in pairs):
        raise typer.BadParameter("--let wants NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _client(url: str) -> Any:
    from cyclealign.client import Client  # noqa: PLC0415 - `--help` stays fast

    return Client(url)


def _default_data_dir() -> Path:
    import os  # noqa: PLC0415 - one command needs it

    return Path(os.environ.get("DATA_DIR", ".cyclealign"))


def _read_spec(spec: str) -> Json:
    try:
        text = sys.stdin.read() if spec == "-" else Path(spec).read_text(encoding="utf-8")
        body = json.loads(text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{spec} cannot be read as JSON: {error}") from None
    if not isinstance(body, dict):
        raise typer.BadParameter("not a JSON object")
    return body


def _follow(client: Any, job: Json, *, wait: bool) -> None:
    typer.echo(job["id"])
    if wait:
        _wait(client, job["id"])


def _wait(client: Any, job_id: str) -> None:
    from rich.console import Console  # noqa: PLC0415 - `--help` stays fast

    from cyclealign.watching import ending_of, show  # noqa: PLC0415 - `--help` stays fast

    try:
        job = show(Console(stderr=True), client.watch(job_id))
    except KeyboardInterrupt:
        typer.echo("No longer watching. The job goes on; `cyclealign cancel` stops it.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(ending_of(job))
    if job["status"] != "succeeded":
        raise typer.Exit(NOT_SUCCEEDED)
