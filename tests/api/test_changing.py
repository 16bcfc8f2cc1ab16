"""Budgets, deadlines, and what of a job may be changed later."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text

from app.core import budget as budgets
from app.core.db import transaction
from app.core.lease import fence, move
from app.core.models import Act
from tests import factories
from tests.api.asking import faults, spec, submit
from tests.execution.leasing import claimed, settled

REACHED = {"code": "budget_reached", "detail": "The next call may take 1 of judge_calls."}


@pytest.fixture
def dataset(engine: Engine) -> str:
    return factories.dataset(engine, 2).id


def test_a_budget_is_shown_line_by_line(client: TestClient, dataset: str) -> None:
    asked = {"max_judge_calls": 10, "max_compute_seconds": 60}
    shown = submit(client, dataset, budget=asked)["budget"]
    assert shown == {
        "judge_cost": {"cap": None, "spent": "0", "reserved": "0", "currency": None},
        "judge_tokens": {"cap": None, "spent": 0, "reserved": 0},
        "judge_calls": {"cap": 10, "spent": 0, "reserved": 0},
        "compute_seconds": {"cap": 60.0, "spent": 0.0},
    }


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"budget": {"max_judge_calls": 0}}, "/budget/max_judge_calls"),
        ({"budget": {"max_judge_cost": "0"}}, "/budget/max_judge_cost"),
        ({"budget": {"max_judge_cost": "1.0000001"}}, "/budget/max_judge_cost"),
        ({"budget": {"max_cost": "1"}}, "/budget/max_cost"),
        ({"deadline_at": "2020-01-01T00:00:00Z"}, "/deadline_at"),
        ({"deadline_at": "2030-01-01T00:00:00"}, "/deadline_at"),
    ],
)
def test_a_bound_that_cannot_hold_is_refused_where_it_stands(
    client: TestClient, dataset: str, changes: dict[str, Any], pointer: str
) -> None:
    assert pointer in faults(client, spec(dataset, **changes))


def test_a_cap_in_money_needs_a_price(client: TestClient, dataset: str) -> None:
    found = faults(
        client,
        spec(dataset, judge={"name": "unpriced"}, budget={"max_judge_cost": "1.00"}),
    )
    assert "/budget/max_judge_cost" in found


def test_the_budget_and_the_name_change_and_what_decides_the_result_does_not(
    client: TestClient, dataset: str
) -> None:
    job = submit(client, dataset)
    wanted = {"name": "later", "budget": {"max_judge_cost": "2.50"}, "metadata": {"a": "b"}}
    answer = client.patch(f"/v1/jobs/{job['id']}", json=wanted)
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert (shown["name"], shown["metadata"]) == ("later", {"a": "b"})
    assert shown["budget"]["judge_cost"]["cap"] == "2.5"
    assert shown["config_sha256"] == job["config_sha256"]
    refused = client.patch(f"/v1/jobs/{job['id']}", json={"seed": 2})
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_field")


@pytest.mark.parametrize(
    ("error", "calls", "state"),
    [(REACHED, 6, "queued"), (REACHED, 5, "paused"), (None, 6, "paused")],
)
def test_only_a_job_that_its_budget_paused_goes_on_when_it_is_raised(
    client: TestClient, engine: Engine, error: dict[str, str] | None, calls: int, state: str
) -> None:
    spent = budgets.settle(budgets.new_budget({"judge_calls": 5}), {}, {"judge_calls": 5})
    job = factories.job(engine, state="paused", budget=spent, error=error)
    wanted = {"budget": {"max_judge_calls": calls}}
    shown = client.patch(f"/v1/jobs/{job.id}", json=wanted).json()
    assert (shown["status"], shown["budget"]["judge_calls"]["cap"]) == (state, calls)


@pytest.mark.parametrize(("seconds", "state"), [(120, "queued"), (61, "paused")])
def test_a_job_that_still_pauses_for_its_budget_goes_on_after_that(
    client: TestClient, engine: Engine, dataset: str, seconds: int, state: str
) -> None:
    """Its round takes 90 seconds more than the 60 that it had: not every raise is enough."""
    job_id = submit(client, dataset, budget={"max_compute_seconds": 60})["id"]
    lease = claimed(engine)
    with transaction(engine) as session:
        job = fence(session, lease)
        move(session, job, Act.PAUSE, actor="worker", reason="budget_reached", error=REACHED)
        job.error = REACHED
    raised = client.patch(
        f"/v1/jobs/{job_id}", json={"budget": {"max_compute_seconds": seconds}}
    ).json()
    assert (raised["status"], raised["error"]["code"]) == ("pausing", "budget_raised")
    ago = "started_at = started_at - interval '90 seconds'"
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE attempts SET {ago}"))
    settled(engine, lease, Act.STOP)
    shown = client.get(f"/v1/jobs/{job_id}").json()
    assert shown["status"] == state
    assert shown["error"] == (None if state == "queued" else budgets.USED_UP)
