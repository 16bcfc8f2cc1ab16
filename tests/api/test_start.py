"""Jobs that start from a checkpoint: what they record of it, and which checkpoints are refused."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.core.db import transaction
from app.core.models import Checkpoint, Job
from app.core.storage import Store
from tests import factories
from tests.api.asking import faults, prompt_positions, spec, submit

LORA = {"type": "lora", "rank": 8, "alpha": 16.0}
FULL = {"type": "full"}
ADAPTER = {"adapter/adapter_model.safetensors": b"a", "training_state/state.json": b"{}"}
WHOLE = {"merged/model.safetensors": b"m", "training_state/state.json": b"{}"}
NOBODYS = f"ckpt_{'0' * 26}"

Make = Callable[..., str]


@pytest.fixture
def make(client: TestClient, engine: Engine, store: Store) -> Make:
    """Store a checkpoint of a job with this tuning; `resolved` changes what its job was."""

    def make_one(
        tuning: dict[str, Any],
        files: dict[str, bytes] = ADAPTER,
        resolved: dict[str, Any] | None = None,
        **fields: Any,
    ) -> str:
        model = {"name": "small", "tuning": tuning}
        job = submit(client, factories.dataset(engine).id, model=model)["id"]
        with transaction(engine) as session:
            row = session.get_one(Job, job)
            row.resolved = row.resolved | {
                name: row.resolved[name] | value for name, value in (resolved or {}).items()
            }
        values = {"job_id": job, "round": 3, "update": 12, "final": False, **fields}
        return factories.checkpoint(engine, store, files, **values).id

    return make_one


def model(checkpoint: str, tuning: dict[str, Any]) -> dict[str, Any]:
    return {"name": "small", "checkpoint": checkpoint, "tuning": tuning}


@pytest.mark.parametrize(
    ("theirs", "files", "ours"),
    [
        (LORA, ADAPTER, LORA),
        (FULL, WHOLE, FULL),
        (LORA, ADAPTER | WHOLE, FULL),
    ],
)
def test_a_job_records_the_checkpoint_that_it_starts_from(
    client: TestClient, engine: Engine, make: Make, theirs: Any, files: Any, ours: Any
) -> None:
    checkpoint = make(theirs, files, manifest_sha256="ab" * 32)
    dataset = factories.dataset(engine).id
    job = submit(client, dataset, model=model(checkpoint, ours))
    with transaction(engine) as session:
        made_by = session.get_one(Checkpoint, checkpoint).job_id
    assert job["resolved"]["model"]["checkpoint"] == checkpoint
    assert job["resolved"]["model"]["start"] == {
        "job_id": made_by,
        "round": 3,
        "update": 12,
        "manifest_sha256": "ab" * 32,
        "trained_by": [made_by],
    }
    without = submit(client, dataset, model={"name": "small", "tuning": ours})
    assert without["config_sha256"] != job["config_sha256"]


def test_a_clone_goes_on_from_a_checkpoint(client: TestClient, make: Make, engine: Engine) -> None:
    first = make(LORA)
    with transaction(engine) as session:
        source = session.get_one(Checkpoint, first).job_id
    body = {"from": {"checkpoint": first}, "overrides": {"optimizer": {"lr": 1e-5}}}
    made = client.post(f"/v1/jobs/{source}/clone", json=body).json()
    assert made["spec"]["model"] == {"name": "small", "tuning": LORA, "checkpoint": first}
    again = client.post(f"/v1/jobs/{made['id']}/clone", json={}).json()
    assert again["config_sha256"] == made["config_sha256"]
    body = {"overrides": {"model": {"checkpoint": None}}}
    anew = client.post(f"/v1/jobs/{made['id']}/clone", json=body).json()
    assert "start" not in anew["resolved"]["model"]


@pytest.mark.parametrize(
    ("theirs", "files", "made", "ours", "found"),
    [
        (LORA, ADAPTER, {"state": "corrupt"}, LORA, {"checkpoint": "checkpoint_not_ready"}),
        (LORA, ADAPTER, {"workspace_id": "ws_other"}, LORA, {"checkpoint": "checkpoint_not_found"}),
        (
            LORA,
            WHOLE,
            {"resolved": {"method": {"type": "reward_model"}}},
            FULL,
            {"checkpoint": "inconsistent_parameters"},
        ),
        (
            LORA,
            ADAPTER,
            {"resolved": {"model": {"name": "other"}}},
            LORA,
            {"checkpoint": "inconsistent_parameters"},
        ),
        (
            LORA,
            ADAPTER,
            {"resolved": {"model": {"entry_sha256": "0" * 64}}},
            LORA,
            {"checkpoint": "inconsistent_parameters"},
        ),
        (LORA, ADAPTER, {}, FULL, {"checkpoint": "inconsistent_parameters"}),
        (FULL, WHOLE, {}, LORA, {"checkpoint": "inconsistent_parameters"}),
        (
            LORA,
            ADAPTER,
            {},
            {"type": "lora", "rank": 16, "alpha": 32.0},
            {"tuning/rank": "inconsistent_parameters", "tuning/alpha": "inconsistent_parameters"},
        ),
    ],
)
def test_a_checkpoint_that_cannot_be_trained_on_is_refused(
    client: TestClient,
    engine: Engine,
    make: Make,
    theirs: Any,
    files: Any,
    made: Any,
    ours: Any,
    found: dict[str, str],
) -> None:
    body = spec(factories.dataset(engine).id, model=model(make(theirs, files, **made), ours))
    assert faults(client, body) == {f"/model/{place}": code for place, code in found.items()}


def test_a_checkpoint_of_nobody_is_one_fault_among_all(client: TestClient, engine: Engine) -> None:
    body = spec(f"ds_{'0' * 26}", model=model(NOBODYS, LORA))
    assert faults(client, body) == {
        "/model/checkpoint": "checkpoint_not_found",
        "/prompts/dataset": "dataset_not_found",
    }


def test_the_fault_says_which_rank_and_alpha_to_use(
    client: TestClient, engine: Engine, make: Make
) -> None:
    body = spec(factories.dataset(engine).id, model=model(make(LORA), {"type": "lora"}))
    told = {
        fault["pointer"]: fault["message"]
        for fault in client.post("/v1/jobs", json=body).json()["errors"]
    }
    assert "must be 8," in told["/model/tuning/rank"]
    assert "must be 16.0," in told["/model/tuning/alpha"]


def test_what_trained_the_start_is_not_held_out_and_counts_as_trained_on(
    client: TestClient, engine: Engine, store: Store
) -> None:
    dataset = factories.dataset(engine, 12).id
    last, trained = None, []
    for seed in (1, 2, 3):
        job = submit(
            client,
            dataset,
            judge={"name": "rubric"},
            model={"name": "small", "tuning": LORA, "checkpoint": last},
            prompts={"dataset": dataset, "sample": {"n": 3, "seed": seed}},
            held_out={"dataset": dataset},
        )
        trained += prompt_positions(engine, job["id"])
        held_out = prompt_positions(engine, job["id"], "held_out")
        assert held_out == [place for place in range(12) if place not in trained]
        last = factories.checkpoint(engine, store, ADAPTER | WHOLE, job_id=job["id"]).id
    assert len(set(trained)) > 3
    contest = {
        "prompts": {"dataset": dataset},
        "contestants": [{"label": "last", "checkpoint": last}],
        "scorers": [{"name": "rubric"}],
    }
    evaluation = client.post("/v1/evaluations", json=contest).json()
    [told] = client.get(f"/v1/jobs/{evaluation['id']}/report").json()["contestants"]
    assert told["trained_on"] == len(set(trained))
