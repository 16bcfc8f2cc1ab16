"""A thin synchronous client: every method is one request, and answers are the service's JSON."""

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from cyclealign import DEFAULT_URL
from cyclealign.download import fetch_archive, fetch_files
from cyclealign.errors import ApiError, Unreachable

Json = dict[str, Any]
PAGE = 100
WAITS = (0.2, 0.5, 1.0)
"""Seconds after which a request is sent again that got no answer."""
ENDED = frozenset({"succeeded", "failed", "cancelled"})
"""Statuses that a job leaves only if it is asked to."""


class Client:
    """The service at one base URL; usable as a context manager.

    Every method raises `ApiError` for a problem that the service reports, and `Unreachable` where
    nothing answers.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        timeout: float = 60.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """Keep one connection pool; `timeout` is in seconds, for each read."""
        self._http = httpx2.Client(base_url=base_url, timeout=timeout, transport=transport)

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def upload_dataset(
        self, path: Path, kind: str, *, name: str | None = None, on_error: str = "reject"
    ) -> Json:
        """Upload a file; the same bytes give the same dataset again.

        A file with faults is stored as `invalid` and lists them; that is no exception.
        """
        fields = {"kind": kind, "name": name or path.name, "on_error": on_error}
        with path.open("rb") as file:
            answer = self._ask("POST", "/v1/datasets", data=fields, files={"file": file})
        return _object(answer)

    def dataset_issues(self, dataset_id: str) -> Iterator[Json]:
        """Iterate over everything wrong with a dataset, line by line."""
        return self.pages(f"/v1/datasets/{dataset_id}/issues")

    def create_job(self, spec: Mapping[str, Any], *, key: str | None = None) -> Json:
        """Submit a job; the answer's `resolved` holds what every default became.

        Sent again under the same `key` within a day, it is the same job. Like all that submit, it
        asks again by itself where an answer got lost on the way.
        """
        return self._submit("/v1/jobs", spec, key)

    def clone_job(
        self,
        job_id: str,
        overrides: Mapping[str, Any] | None = None,
        *,
        checkpoint: str | None = None,
        key: str | None = None,
    ) -> Json:
        """Submit a job with another one's spec and some new values, perhaps from a checkpoint."""
        asked: Json = {"overrides": dict(overrides or {})}
        if checkpoint is not None:
            asked["from"] = {"checkpoint": checkpoint}
        return self._submit(f"/v1/jobs/{job_id}/clone", asked, key)

    def create_evaluation(self, spec: Mapping[str, Any], *, key: str | None = None) -> Json:
        """Submit an evaluation; it is a job, and is watched like one."""
        return self._submit("/v1/evaluations", spec, key)

    def create_experiment(self, spec: Mapping[str, Any], *, key: str | None = None) -> Json:
        """Submit an experiment; runs that are already there are not run again."""
        return self._submit("/v1/experiments", spec, key)

    def report(self, job_id: str) -> Json:
        """Return what an evaluation, an experiment or a reward model has found so far."""
        return _object(self._ask("GET", f"/v1/jobs/{job_id}/report"))

    def report_text(self, job_id: str, form: str) -> str:
        """Return an experiment's report as `csv` or as a page in `html`."""
        return self._ask("GET", f"/v1/jobs/{job_id}/report.{form}").text

    def job(self, job_id: str) -> Json:
        """Return a job as it is now."""
        return _object(self._ask("GET", f"/v1/jobs/{job_id}"))

    def jobs(self, **filters: str) -> Iterator[Json]:
        """Iterate over the jobs, newest first."""
        return self.pages("/v1/jobs", **filters)

    def watch(self, job_id: str, *, every: float = 1.0) -> Iterator[Json]:
        """Yield the job now and then every so many seconds; the last one yielded has ended."""
        while (job := self.job(job_id))["status"] not in ENDED:
            yield job
            time.sleep(every)
        yield job

    def change(self, job_id: str, wanted: Mapping[str, Any]) -> Json:
        """Change a job's name, metadata, budget or deadline."""
        return _object(self._ask("PATCH", f"/v1/jobs/{job_id}", json=dict(wanted)))

    def cancel(self, job_id: str) -> Json:
        """Ask a job to stop; asking again changes nothing."""
        return _object(self._ask("POST", f"/v1/jobs/{job_id}/cancel"))

    def pause(self, job_id: str) -> Json:
        """Ask a job to pause; a running one first keeps the round that it is in."""
        return _object(self._ask("POST", f"/v1/jobs/{job_id}/pause"))

    def resume(self, job_id: str) -> Json:
        """Let a paused job go on."""
        return _object(self._ask("POST", f"/v1/jobs/{job_id}/resume"))

    def retry(self, job_id: str) -> Json:
        """Let a failed or cancelled job go on from its newest checkpoint."""
        return _object(self._ask("POST", f"/v1/jobs/{job_id}/retry"))

    def rankings(self, job_id: str, **filters: str) -> Iterator[Json]:
        """Iterate over both rankings of every iteration, with the responses."""
        return self.pages(f"/v1/jobs/{job_id}/rankings", **filters)

    def responses(self, job_id: str, **filters: str) -> Iterator[Json]:
        """Iterate over every sampled response; `stage` tells training from held-out prompts."""
        return self.pages(f"/v1/jobs/{job_id}/responses", **filters)

    def agreements(self, job_id: str, **filters: str) -> Iterator[Json]:
        """Iterate over what both rankings agreed on."""
        return self.pages(f"/v1/jobs/{job_id}/agreements", **filters)

    def judge_calls(self, job_id: str, **filters: str) -> Iterator[Json]:
        """Iterate over the ledger: every post to the judge, and every answer used again."""
        return self.pages(f"/v1/jobs/{job_id}/judge-calls", **filters)

    def events(self, job_id: str) -> Iterator[Json]:
        """Iterate over the job's log."""
        return self.pages(f"/v1/jobs/{job_id}/events")

    def metrics(self, job_id: str, **filters: str) -> Json:
        """Return the job's series over its weights versions."""
        return _object(self._ask("GET", f"/v1/jobs/{job_id}/metrics", params=filters))

    def checkpoints(self, job_id: str) -> Iterator[Json]:
        """Iterate over the job's checkpoints."""
        return self.pages(f"/v1/jobs/{job_id}/checkpoints")

    def checkpoint(self, checkpoint_id: str) -> Json:
        """Return a checkpoint with its manifest."""
        return _object(self._ask("GET", f"/v1/checkpoints/{checkpoint_id}"))

    def download_files(self, checkpoint_id: str, folder: Path) -> list[Path]:
        """Download a checkpoint file by file, and go on with what an earlier call left.

        Every file's sha256 is compared with the manifest. The training state, which only the
        service itself reads, is left out.

        Raises:
            Corrupt: a file is not what the manifest says.
        """
        return fetch_files(self, self.checkpoint(checkpoint_id), folder)

    def download_archive(self, checkpoint_id: str, path: Path) -> Path:
        """Download a checkpoint as one tar file and verify every file in it.

        Raises:
            Corrupt: the archive does not hold what the manifest says.
        """
        return fetch_archive(self, self.checkpoint(checkpoint_id), path)

    def pages(self, path: str, **filters: str) -> Iterator[Json]:
        """Iterate over all entries of a list, fetching its pages as they are needed."""
        params = {"limit": str(PAGE)} | filters
        while True:
            page = _object(self._ask("GET", path, params=params))
            yield from page["data"]
            if not page["has_more"]:
                return
            params = params | {"after": str(page["last_id"])}

    @contextmanager
    def stream(
        self, path: str, headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx2.Response]:
        """Open a download; the caller reads its chunks inside the `with` block."""
        with _reachable(), self._http.stream("GET", path, headers=headers) as answer:
            if answer.is_error:
                answer.read()
                raise _problem(answer)
            yield answer

    def _submit(self, path: str, asked: Mapping[str, Any], key: str | None) -> Json:
        """Make one new thing, however often this has to be asked."""
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        ask = partial(self._ask, "POST", path, json=dict(asked), headers=headers)
        for wait in WAITS:
            try:
                return _object(ask())
            except Unreachable:
                time.sleep(wait)
        return _object(ask())

    def _ask(self, method: str, path: str, **request: Any) -> httpx2.Response:
        with _reachable():
            answer = self._http.request(method, path, **request)
        if answer.is_error:
            raise _problem(answer)
        return answer


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except httpx2.TransportError as error:
        raise Unreachable(f"The service does not answer: {error}.") from error


def _object(answer: httpx2.Response) -> Json:
    body = answer.json()
    if not isinstance(body, dict):
        raise Unreachable(f"{answer.url} does not speak as this service does.")
    return body


def _problem(answer: httpx2.Response) -> ApiError:
    body = _problem_body(answer)
    return ApiError(
        status=answer.status_code,
        code=str(body.get("code", "unknown")),
        detail=str(body.get("detail") or body.get("title") or answer.reason_phrase),
        errors=list(body.get("errors") or ()),
        request_id=body.get("request_id") or answer.headers.get("x-request-id"),
    )


def _problem_body(answer: httpx2.Response) -> Json:
    kind = answer.headers.get("content-type", "")
    if not kind.startswith(("application/problem+json", "application/json")):
        return {}
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
