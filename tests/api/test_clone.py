"""Cloning jobs: what of the other job is kept, and every reason to refuse."""

from typing import Any

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.core.db import transaction
from app.core.models import Job
from tests import factories
from tests.api.asking import is_problem, leased, spec, submit


def clone(client: TestClient, job_id: str, **overrides: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/jobs/{job_id}/clone", json={"overrides": overrides})
    assert answer.status_code == 202, answer.text
    made: dict[str, Any] = answer.json()
    return made


def refused(client: TestClient, job_id: str, body: dict[str, Any]) -> dict[str, str]:
    answer = client.post(f"/v1/jobs/{job_id}/clone", json=body)
    assert answer.status_code == 422, answer.text
    return {fault["pointer"]: fault["code"] for fault in answer.json()["errors"]}


def count(engine: Engine) -> int:
    with transaction(engine) as session:
        return len(session.scalars(select(Job)).all())


@pytest.mark.parametrize("state", ["queued", "running", "paused", "succeeded", "failed"])
def test_a_job_in_any_state_gives_another_one_that_is_queued(
    client: TestClient, engine: Engine, state: str
) -> None:
    known = submit(client, factories.dataset(engine).id, name="mine", seed=3, metadata={"a": "b"})
    with transaction(engine) as session:
        job = session.get_one(Job, known["id"])
        job.state = state
        for name, value in (leased() if state == "running" else {}).items():
            setattr(job, name, value)
    answer = client.post(f"/v1/jobs/{known['id']}/clone")
    assert answer.status_code == 202, answer.text
    made = client.get(answer.headers["Location"]).json()
    assert made["id"] != known["id"]
    assert (made["status"], made["cloned_from"]) == ("queued", known["id"])
    same = ("spec", "resolved", "config_sha256", "seed", "name", "metadata")
    assert {name: made[name] for name in same} == {name: known[name] for name in same}
    assert client.get(f"/v1/jobs/{known['id']}").json()["status"] == state
    assert client.get(f"/v1/jobs/{known['id']}").json()["cloned_from"] is None


def test_its_log_and_every_list_say_where_it_came_from(client: TestClient, engine: Engine) -> None:
    known = submit(client, factories.dataset(engine).id)
    made = clone(client, known["id"])
    [event] = client.get(f"/v1/jobs/{made['id']}/events").json()["data"]
    assert (event["type"], event["data"]["cloned_from"]) == ("created", known["id"])
    assert known["id"] in event["message"]
    listed = client.get("/v1/jobs").json()["data"]
    assert [job["cloned_from"] for job in listed] == [known["id"], None]


def test_overrides_change_what_they_name_and_nothing_beside_it(
    client: TestClient, engine: Engine
) -> None:
    known = submit(
        client,
        factories.dataset(engine).id,
        judge={"name": "rubric"},
        held_out={"dataset": factories.dataset(engine, subsets=["x"]).id},
        prompts={"dataset": factories.dataset(engine).id, "sample": {"n": 2, "seed": 4}},
        method={"type": "cyclealign", "candidates": 4, "objective": {"type": "pro", "lambda": 2.0}},
        optimizer={"type": "adamw", "lr": 1e-4},
        metadata={"team": "x"},
    )
    made = clone(
        client,
        known["id"],
        method={"iterations": 2},
        optimizer={"type": "sgd"},
        prompts={"sample": {"n": 1}},
        held_out=None,
        metadata={"run": "2"},
    )
    assert made["spec"] == {
        **known["spec"],
        "method": {**known["spec"]["method"], "iterations": 2},
        "optimizer": {"type": "sgd", "lr": 1e-4},
        "prompts": {**known["spec"]["prompts"], "sample": {"n": 1, "seed": 4}},
        "held_out": None,
        "metadata": {"team": "x", "run": "2"},
    }
    assert made["config_sha256"] != known["config_sha256"]


def test_another_type_of_a_thing_keeps_no_field_of_the_one_before(
    client: TestClient, engine: Engine
) -> None:
    known = submit(
        client,
        factories.dataset(engine).id,
        model={"name": "small", "tuning": {"type": "lora", "rank": 8}},
        method={"type": "cyclealign", "candidates": 4, "objective": {"type": "pro", "lambda": 2.0}},
    )
    made = clone(
        client,
        known["id"],
        model={"tuning": {"type": "full"}},
        method={"objective": {"type": "rrhf"}},
    )
    assert made["spec"]["model"] == {"name": "small", "tuning": {"type": "full"}}
    assert made["spec"]["method"] == {
        "type": "cyclealign",
        "candidates": 4,
        "objective": {"type": "rrhf"},
    }
    same = clone(client, known["id"], method={"objective": {"type": "pro"}})
    assert same["spec"]["method"]["objective"] == {"type": "pro", "lambda": 2.0}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"overrides": {"seed": -1}}, {"/overrides/seed": "out_of_range"}),
        (
            {"overrides": {"method": {"itertions": 3}, "optimizer": {"lr": 3.0}}},
            {
                "/overrides/method/itertions": "unknown_field",
                "/overrides/optimizer/lr": "out_of_range",
            },
        ),
        ({"overrides": {"budgets": 1}}, {"/overrides/budgets": "unknown_field"}),
        ({"overrides": {"model": 5}}, {"/overrides/model": "type_error"}),
        ({"overrides": {"method": {"type": "no"}}}, {"/overrides/method": "unknown_type"}),
        ({"overrides": {"judge": None}}, {"/overrides/judge": "missing"}),
        (
            {
                "overrides": {
                    "model": {"name": "no"},
                    "prompts": {"dataset": f"ds_{'0' * 26}"},
                    "generation": {"max_length": 64},
                }
            },
            {
                "/overrides/model/name": "model_not_allowed",
                "/overrides/prompts/dataset": "dataset_not_found",
                "/overrides/generation/max_new_tokens": "inconsistent_parameters",
            },
        ),
        ({"overrides": []}, {"/overrides": "type_error"}),
        ({"overides": {}}, {"/overides": "unknown_field"}),
        ({"from": {"checkpoint": "latest"}}, {"/from/checkpoint": "invalid_format"}),
        ({"from": f"ckpt_{'0' * 26}"}, {"/from": "type_error"}),
        ({"from": {}}, {"/from/checkpoint": "missing"}),
        (
            {"from": {"checkpoint": f"ckpt_{'0' * 26}"}, "overrides": {"judge": {"name": "no"}}},
            {
                "/from/checkpoint": "checkpoint_not_found",
                "/overrides/judge/name": "judge_not_allowed",
            },
        ),
        (
            {
                "from": {"checkpoint": f"ckpt_{'0' * 26}"},
                "overrides": {"model": {"checkpoint": None}},
            },
            {"/from/checkpoint": "inconsistent_parameters"},
        ),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_place_in_the_request(
    client: TestClient, engine: Engine, body: dict[str, Any], found: dict[str, str]
) -> None:
    known = submit(client, factories.dataset(engine).id)
    assert refused(client, known["id"], body) == found
    assert count(engine) == 1


def test_an_unknown_field_is_told_the_nearest_name(client: TestClient, engine: Engine) -> None:
    known = submit(client, factories.dataset(engine).id)
    body = {"overrides": {"method": {"itertions": 3}}}
    answer = client.post(f"/v1/jobs/{known['id']}/clone", json=body)
    [fault] = is_problem(answer, 422, "unknown_field")["errors"]
    assert "did you mean 'iterations'?" in fault["message"]


def test_a_fault_of_the_job_that_is_cloned_is_called_its_own(
    client: TestClient, engine: Engine
) -> None:
    body = spec(factories.dataset(engine).id, model={"name": "former"})
    known = factories.job(engine, spec=body)
    answer = client.post(f"/v1/jobs/{known.id}/clone", json={"overrides": {"seed": 2}})
    [fault] = is_problem(answer, 422, "model_not_allowed")["errors"]
    assert fault["pointer"] == "/model/name"
    assert fault["message"].startswith("In the job that is cloned: ")
    assert clone(client, known.id, model={"name": "small"})["cloned_from"] == known.id


@pytest.mark.parametrize("kind", ["evaluation", "experiment"])
def test_only_alignment_jobs_can_be_cloned(client: TestClient, engine: Engine, kind: str) -> None:
    other = factories.job(engine, kind=kind)
    answer = client.post(f"/v1/jobs/{other.id}/clone", json={})
    assert kind in is_problem(answer, 409, "not_an_alignment")["detail"]


def test_a_job_of_nobody_or_of_another_workspace_cannot_be_cloned(
    client: TestClient, engine: Engine
) -> None:
    theirs = factories.job(engine, workspace_id="ws_other")
    for job_id in (theirs.id, f"job_{'0' * 26}"):
        is_problem(client.post(f"/v1/jobs/{job_id}/clone", json={}), 404, "not_found")
