"""Plans: experiments with the files that they stand on, and the results that they leave.

A plan is a JSON file with `datasets` (by name, a file beside the plan or in the folder given, and
its kind) and an `experiment`, in which `@name` stands for a dataset's id or for a value given.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclealign.client import Client
from cyclealign.errors import BadPlan

Json = dict[str, Any]
SIGN = "@"


@dataclass(frozen=True)
class Plan:
    """A plan with what its names stand for."""

    files: Mapping[str, tuple[Path, str]]
    """By name, a dataset's file and kind."""
    experiment: Json
    given: Mapping[str, str]
    """Values for the names that are no datasets."""

    @property
    def name(self) -> str:
        """What the result files are called."""
        return str(self.experiment.get("name", "experiment"))

    @property
    def sha256(self) -> str:
        """Of everything that decides the result, so that a finished one is known again."""
        files = {name: _sha256(path.read_bytes()) for name, (path, _) in self.files.items()}
        whole = [self.experiment, files, dict(self.given)]
        return _sha256(json.dumps(whole, sort_keys=True).encode())


def read_plan(path: Path, data: Path, given: Mapping[str, str]) -> Plan:
    """Read a plan whose files lie in the folder `data`; raises `BadPlan`."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        files = {
            name: (data / one["file"], str(one["kind"]))
            for name, one in body.get("datasets", {}).items()
        }
        plan = Plan(files, body["experiment"], given)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadPlan(f"{path} is no plan: {type(error).__name__}: {error}") from None
    missing = [str(file) for file, _ in files.values() if not file.is_file()]
    if missing:
        raise BadPlan(f"these files of the plan are not there: {', '.join(missing)}")
    _named(plan.experiment, {**given, **dict.fromkeys(files, "")})
    return plan


def finished(plan: Plan, folder: Path) -> Path | None:
    """Find the result of just this plan, if it is there and whole.

    Raises:
        BadPlan: another file, such as a plan, is where the result would be written.
    """
    path = folder / f"{plan.name}.json"
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    if "report" not in found:
        raise BadPlan(f"{path} is no result and would be lost; choose another --out or name.")
    whole = found.get("plan_sha256") == plan.sha256 and found["report"]["complete"]
    return path if whole else None


def submit(client: Client, plan: Plan) -> Json:
    """Upload the files and submit the experiment; the service runs nothing of it twice."""
    ids = {name: _upload(client, *file) for name, file in plan.files.items()}
    return client.create_experiment(_named(plan.experiment, {**plan.given, **ids}))


def keep(client: Client, plan: Plan, experiment: str, folder: Path) -> list[Path]:
    """Write what was found as JSON, CSV and HTML."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {"plan_sha256": plan.sha256, "report": client.report(experiment)}
    texts = {
        "json": json.dumps(found, ensure_ascii=False, indent=1) + "\n",
        "csv": client.report_text(experiment, "csv"),
        "html": client.report_text(experiment, "html"),
    }
    paths = [folder / f"{plan.name}.{form}" for form in texts]
    for path, text in zip(paths, texts.values(), strict=True):
        path.write_text(text, encoding="utf-8", newline="")
    return paths


def _upload(client: Client, file: Path, kind: str) -> str:
    dataset = client.upload_dataset(file, kind, on_error="skip")
    if dataset["state"] != "ready":
        raise BadPlan(f"{file} has no usable row of kind {kind!r}; see its issues: {dataset['id']}")
    return str(dataset["id"])


def _named(value: Any, names: Mapping[str, str]) -> Any:
    """Put what the names stand for in their places; raises `BadPlan` for an unknown one."""
    if isinstance(value, dict):
        return {key: _named(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    if not isinstance(value, str) or not value.startswith(SIGN):
        return value
    if value[1:] not in names:
        raise BadPlan(f"{value} stands for nothing; give it with --let {value[1:]}=VALUE.")
    return names[value[1:]]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
