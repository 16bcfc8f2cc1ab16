"""What tests of the API ask, and what they look for in the answers."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.core.db import transaction
from app.core.models import JobPrompt

SECRET = "sk-never-shown"
GOOD: dict[str, Any] = {
    "model": {"name": "small"},
    "judge": {"name": "rubric"},
    "prompts": {"dataset": "ds_" + "0" * 26},
    "method": {"type": "cyclealign"},
}
JSON = {"Content-Type": "application/json"}
LINES = {"Accept": "application/x-ndjson"}


def post(client: TestClient, content: bytes | str, **headers: str) -> Any:
    return client.post("/v1/jobs", content=content, headers={**JSON, **headers})


def is_problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"urn:cyclealign:problem:{code}"
    assert (body["status"], body["code"]) == (status, code)
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["error"]["code"] == code
    assert body["error"]["message"] == body["detail"]
    assert SECRET not in answer.text
    return body


def spec(dataset: str, **changes: Any) -> dict[str, Any]:
    return {
        "model": {"name": "small"},
        "judge": {"name": "paid"},
        "prompts": {"dataset": dataset},
        "method": {"type": "cyclealign"},
        **changes,
    }


def submit(client: TestClient, dataset: str, **changes: Any) -> dict[str, Any]:
    answer = client.post("/v1/jobs", json=spec(dataset, **changes))
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def faults(client: TestClient, body: dict[str, Any]) -> dict[str, str]:
    answer = client.post("/v1/jobs", json=body)
    assert answer.status_code == 422, answer.text
    return {fault["pointer"]: fault["code"] for fault in answer.json()["errors"]}


def leased(**fields: Any) -> dict[str, Any]:
    return {"lease_owner": "w", "lease_expires_at": datetime.now(UTC), **fields}


def prompt_positions(engine: Engine, job_id: str, stage: str = "align") -> list[int]:
    query = select(JobPrompt).where(JobPrompt.job_id == job_id, JobPrompt.stage == stage)
    with transaction(engine) as session:
        return [row.position for row in session.scalars(query.order_by(JobPrompt.step))]
