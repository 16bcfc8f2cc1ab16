"""Submitting jobs: what they become, and every reason to refuse one."""

from typing import Any

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.core.db import transaction
from app.core.models import Job
from tests import factories
from tests.api.asking import faults, prompt_positions, spec, submit


def test_a_submitted_job_is_queued_and_can_be_read_where_location_says(
    client: TestClient, engine: Engine
) -> None:
    answer = client.post(
        "/v1/jobs", json=spec(factories.dataset(engine).id, name="mine", metadata={"team": "x"})
    )

    assert answer.status_code == 202
    job = client.get(answer.headers["Location"]).json()
    assert job["id"].startswith("job_")
    assert (job["object"], job["kind"], job["name"], job["status"]) == (
        *("job", "alignment", "mine"),
        "queued",
    )
    assert job["allowed_actions"] == ["cancel", "pause"]
    assert job["progress"]["fraction"] == 0
    assert job["progress"]["steps_total"] == 4
    assert job["metadata"] == {"team": "x"}
    assert job["attempts"] == []
    assert job["created_at"].endswith("Z")
    assert {**job, "attempts": None} == {**answer.json(), "attempts": None}


def test_a_job_keeps_what_was_asked_beside_what_it_became(
    client: TestClient, engine: Engine
) -> None:
    dataset = factories.dataset(engine)

    job = submit(client, dataset.id)

    assert job["spec"] == spec(dataset.id)
    resolved = job["resolved"]
    assert resolved["method"]["iterations"] == 5
    assert resolved["method"]["objective"] == {"type": "pro", "lambda": "auto"}
    assert resolved["method"]["teacher"] is True
    assert resolved["optimizer"]["betas"] == [0.9, 0.999]
    assert resolved["judge"]["type"] == "openai"
    assert resolved["judge"]["traits"]["gives_scores"] is False
    assert len(resolved["model"]["entry_sha256"]) == 64
    assert resolved["model"]["license"] == "MIT"
    assert resolved["prompts"]["rows"] == 4
    assert resolved["prompts"]["sha256"] == dataset.sha256
    assert resolved["not_applicable"] == []
    assert resolved["service_version"]


def test_the_log_of_a_job_begins_with_its_creation(client: TestClient, engine: Engine) -> None:
    job = submit(client, factories.dataset(engine).id)

    events = client.get(f"/v1/jobs/{job['id']}/events").json()["data"]

    assert [(event["seq"], event["type"]) for event in events] == [(1, "created")]


def test_the_prompts_of_a_job_are_its_datasets_rows_in_order(
    client: TestClient, engine: Engine
) -> None:
    dataset = factories.dataset(engine, 5)

    job = submit(client, dataset.id)

    assert prompt_positions(engine, job["id"]) == [0, 1, 2, 3, 4]


def test_a_sample_is_the_same_for_the_same_seed_and_another_for_another(
    client: TestClient, engine: Engine
) -> None:
    dataset = factories.dataset(engine, 50).id

    def positions(seed: int) -> list[int]:
        prompts = {"dataset": dataset, "sample": {"n": 10, "seed": seed}}
        return prompt_positions(engine, submit(client, dataset, prompts=prompts)["id"])

    first = positions(1)
    assert len(set(first)) == 10
    assert first == sorted(first)
    assert positions(1) == first
    assert positions(2) != first


def test_a_sample_per_subset_takes_as_many_of_each(client: TestClient, engine: Engine) -> None:
    dataset = factories.dataset(engine, 20, subsets=["a", "b"]).id
    prompts = {"dataset": dataset, "sample": {"n": 3, "per_subset": True}}

    positions = prompt_positions(engine, submit(client, dataset, prompts=prompts)["id"])

    assert sorted(position % 2 for position in positions) == [0, 0, 0, 1, 1, 1]


def test_held_out_prompts_of_the_same_dataset_are_none_that_train(
    client: TestClient, engine: Engine
) -> None:
    dataset = factories.dataset(engine, 10).id
    prompts = {"dataset": dataset, "sample": {"n": 6, "seed": 1}}
    held_out = {"dataset": dataset, "sample": {"n": 4, "seed": 1}}

    job = submit(client, dataset, judge={"name": "rubric"}, prompts=prompts, held_out=held_out)

    trained = prompt_positions(engine, job["id"])
    held = prompt_positions(engine, job["id"], "held_out")
    assert sorted(trained + held) == list(range(10))
    assert job["resolved"]["held_out"]["rows"] == 4


def test_held_out_prompts_cannot_be_those_that_all_train(
    client: TestClient, engine: Engine
) -> None:
    dataset = factories.dataset(engine).id
    body = spec(dataset, judge={"name": "rubric"}, held_out={"dataset": dataset})

    assert faults(client, body) == {"/held_out/dataset": "inconsistent_parameters"}


def test_every_fault_of_a_job_is_reported_at_once(client: TestClient, engine: Engine) -> None:
    missing = "ds_" + "0" * 26
    wrong_kind = factories.dataset(engine, kind="preferences").id
    body = spec(
        missing,
        model={"name": "unknown"},
        judge={"name": "rubric"},
        held_out={"dataset": wrong_kind},
        method={"type": "cyclealign", "teacher": "on", "dynamic_demonstrations": "none"},
        generation={"max_length": 64, "max_new_tokens": 64},
    )

    assert faults(client, body) == {
        "/model/name": "model_not_allowed",
        "/prompts/dataset": "dataset_not_found",
        "/held_out/dataset": "wrong_dataset_kind",
        "/method/teacher": "inconsistent_parameters",
        "/method/dynamic_demonstrations": "inconsistent_parameters",
        "/generation/max_new_tokens": "inconsistent_parameters",
    }


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"judge": {"name": "nobody"}}, "/judge/name", "judge_not_allowed"),
        ({"held_out": {"dataset": "D"}}, "/held_out", "inconsistent_parameters"),
        (
            {"prompts": {"dataset": "D", "sample": {"n": 5}}},
            "/prompts/sample/n",
            "sample_too_large",
        ),
        ({"prompts": {"dataset": "I"}}, "/prompts/dataset", "dataset_not_ready"),
        ({"prompts": {"dataset": "E"}}, "/prompts/dataset", "dataset_empty"),
        ({"prompts": {"dataset": "O"}}, "/prompts/dataset", "dataset_not_found"),
        (
            {"demonstrations": {"dataset": "D"}},
            "/demonstrations/dataset",
            "wrong_dataset_kind",
        ),
        (
            {"demonstrations": {"dataset": "S", "n": 3}},
            "/demonstrations/n",
            "sample_too_large",
        ),
        (
            {"judge": {"name": "rubric"}, "demonstrations": "none"},
            "/demonstrations",
            "inconsistent_parameters",
        ),
        (
            {
                "method": {
                    "type": "cyclealign",
                    "iterations": 1,
                    "dynamic_demonstrations": "black_box",
                }
            },
            "/method/dynamic_demonstrations",
            "inconsistent_parameters",
        ),
        (
            {"method": {"type": "cyclealign", "concurrency": 1, "staleness": 1}},
            "/method/staleness",
            "inconsistent_parameters",
        ),
        ({"judge": {"name": "rubric", "orders": 2}}, "/judge/orders", "inconsistent_parameters"),
        (
            {"judge": {"name": "paid", "orders": 4}, "method": {"type": "cyclealign"}},
            "/judge/orders",
            "inconsistent_parameters",
        ),
        (
            {"judge": {"name": "paid", "orders": 4}, "preset": "paper"},
            "/judge/orders",
            "inconsistent_parameters",
        ),
        ({"judge": {"name": "paid", "orders": 0}}, "/judge/orders", "out_of_range"),
        ({"engine": {"ranks": 2}}, "/engine/ranks", "inconsistent_parameters"),
        (
            {"engine": {"offload_optimizer": True}},
            "/engine/offload_optimizer",
            "inconsistent_parameters",
        ),
        (
            {"preset": "paper", "method": {"type": "cyclealign", "staleness": 1}},
            "/method/staleness",
            "inconsistent_parameters",
        ),
        (
            {"preset": "paper", "method": {"type": "cyclealign", "candidates": 4}},
            "/method/candidates",
            "inconsistent_parameters",
        ),
        (
            {
                "preset": "paper",
                "method": {"type": "cyclealign", "objective": {"type": "rrhf", "lambda": 1.0}},
            },
            "/method/objective/lambda",
            "inconsistent_parameters",
        ),
    ],
)
def test_a_job_that_cannot_be_done_as_asked_is_refused_with_its_place(
    client: TestClient, engine: Engine, changes: dict[str, Any], pointer: str, code: str
) -> None:
    ids = {
        "D": factories.dataset(engine).id,
        "I": factories.dataset(engine, state="invalid").id,
        "E": factories.dataset(engine, 0).id,
        "O": factories.dataset(engine, workspace_id="ws_other").id,
        "S": factories.dataset(engine, 2, kind="demonstrations").id,
    }

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: ids.get(v, v) if key == "dataset" else named(v) for key, v in value.items()
            }
        return value

    found = faults(client, spec(ids["D"], **named(changes)))

    if pointer == "/held_out":
        found.pop("/held_out/dataset")
    assert found == {pointer: code}


def test_a_judge_is_asked_in_one_order_unless_said_otherwise(
    client: TestClient, engine: Engine
) -> None:
    dataset = factories.dataset(engine).id

    plain = submit(client, dataset)
    several = submit(client, dataset, judge={"name": "local", "orders": 3})

    assert plain["resolved"]["judge"]["orders"] == 1
    assert several["resolved"]["judge"]["orders"] == 3


def test_the_gradients_betas_can_be_given_as_an_array(client: TestClient, engine: Engine) -> None:
    job = submit(client, factories.dataset(engine).id, optimizer={"betas": [0.8, 0.9]})

    assert job["resolved"]["optimizer"]["betas"] == [0.8, 0.9]


def test_the_answer_is_sent_only_after_the_commit(client: TestClient, engine: Engine) -> None:
    # A constraint that is checked at the commit: were the answer sent first, it would be a 202.
    dataset = factories.dataset(engine).id
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'refused at the commit'; END $$"
        )
        connection.exec_driver_sql(
            "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON jobs DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION refuse()"
        )

    answer = client.post("/v1/jobs", json=spec(dataset))

    assert answer.status_code == 500
    with transaction(engine) as session:
        assert session.scalars(select(Job)).all() == []
