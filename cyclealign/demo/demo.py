"""The demo: one alignment of a real model through the whole service, from upload to download."""

import hashlib
import json
import time
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from rich.console import Console

from cyclealign.client import ENDED, Client
from cyclealign.demo.outcome import Outcome, answers, render
from cyclealign.errors import ClientError
from cyclealign.stack import INTERRUPTED, running_stack
from cyclealign.watching import ending_of, show

Json = dict[str, Any]
MARK = {"demo": "1"}
UPLOADS = {
    "prompts": ("prompts.jsonl", "prompts"),
    "held_out": ("held_out.jsonl", "prompts"),
    "demonstrations": ("demonstration.jsonl", "demonstrations"),
}
"""Field of the job: the file that it is made of, and its kind."""


def run_demo(console: Console, data_dir: Path) -> int:
    """Run the demo in a data folder; returns the exit code, 0 if the job succeeded."""
    began = time.monotonic()
    console.print("Starting PostgreSQL, the API, the dispatcher and a worker ...")
    try:
        with running_stack(data_dir, port=0) as stack, Client(stack.url) as client:
            console.print(f"The service is up at {stack.url}.", soft_wrap=True)
            return _until_interrupted(console, client, data_dir, began)
    except KeyboardInterrupt:
        return INTERRUPTED


def _until_interrupted(console: Console, client: Client, data_dir: Path, began: float) -> int:
    try:
        return _align(console, client, data_dir, began)
    except KeyboardInterrupt:
        console.print("Stopping. The job is kept: the next `demo` or `up` goes on with it.")
        return INTERRUPTED


def demo_spec(datasets: Mapping[str, str]) -> Json:
    """Return the job of the demo over uploaded datasets, marked so that it is found again."""
    spec: Json = json.loads(_own("job.json").read_text(encoding="utf-8"))
    for field, dataset in datasets.items():
        spec[field]["dataset"] = dataset
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
    spec["metadata"] = MARK | {"demo_spec": digest[:12]}
    return spec


def submit_or_resume(client: Client, spec: Json) -> tuple[Json, bool]:
    """Return an unfinished job of this very spec, else a new one, and whether it is new.

    Unfinished demo jobs of other specs would only be waited for; they are cancelled.
    """
    unfinished = [
        job
        for job in client.jobs(**{f"metadata[{key}]": value for key, value in MARK.items()})
        if job["status"] not in ENDED
    ]
    same = [job for job in unfinished if job["metadata"] == spec["metadata"]]
    for job in unfinished:
        if job not in same:
            client.cancel(job["id"])
    return (same[0], False) if same else (client.create_job(spec), True)


def _align(console: Console, client: Client, data_dir: Path, began: float) -> int:
    spec = demo_spec({field: _upload(client, field) for field in UPLOADS})
    job, is_new = submit_or_resume(client, spec)
    _announce(console, job, is_new=is_new)
    job = show(console, client.watch(job["id"]))
    if job["status"] != "succeeded":
        console.print(ending_of(job), markup=False)
        return 1
    checkpoint_id = job["result"]["checkpoint_id"]
    folder = data_dir / "demo" / checkpoint_id
    with console.status("Downloading the checkpoint and comparing its sha256 sums ..."):
        downloaded = client.download_files(checkpoint_id, folder)
    seconds = time.monotonic() - began
    render(console, Outcome(job, answers(client, job["id"]), folder, len(downloaded), seconds))
    return 0


def _announce(console: Console, job: Json, *, is_new: bool) -> None:
    done, total = job["progress"]["steps_done"], job["progress"]["steps_total"]
    if is_new:
        model, judge = job["resolved"]["model"]["name"], job["resolved"]["judge"]["name"]
        console.print(f"Submitted {job['id']}:")
        console.print(f"  {total} prompts, white box {model}, black box {judge}.")
    else:
        console.print(f"Going on with {job['id']}: {done} of {total} prompts are done.")


def _upload(client: Client, field: str) -> str:
    name, kind = UPLOADS[field]
    with as_file(_own(name)) as path:
        dataset = client.upload_dataset(path, kind)
    if dataset["state"] != "ready":
        raise ClientError(f"The service refuses {name}: {dataset['issue_counts']}.")
    return str(dataset["id"])


def _own(name: str) -> Any:
    return files("cyclealign.demo").joinpath(name)
