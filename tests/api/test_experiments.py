"""Submitting experiments: what they become, and every reason to refuse one."""

from typing import Any

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.core.db import transaction
from app.core.models import Job
from tests import factories
from tests.api.asking import is_problem, spec, submit

OBJECTIVES = {
    "name": "objective",
    "values": [
        {"label": "PRO"},
        {"label": "RRHF", "set": {"/method/objective": {"type": "rrhf"}}},
    ],
}
LENGTHS = {
    "name": "N",
    "values": [
        {"label": "5"},
        {"label": "1 (w/o Cycle)", "set": {"/method/iterations": 1}},
    ],
}


def asked(dataset: str, **changes: Any) -> dict[str, Any]:
    return {
        "base": spec(dataset, judge={"name": "rubric"}),
        "axes": [OBJECTIVES, LENGTHS],
        "seeds": [1, 2],
        **changes,
    }


def of_kind(engine: Engine, kind: str) -> list[Job]:
    with transaction(engine) as session:
        return list(session.scalars(select(Job).where(Job.kind == kind).order_by(Job.id)))


def test_every_combination_of_values_runs_under_every_seed(
    client: TestClient, engine: Engine
) -> None:
    answer = client.post("/v1/experiments", json=asked(factories.dataset(engine).id))
    assert answer.status_code == 202, answer.text
    experiment = client.get(answer.headers["Location"]).json()
    assert (experiment["kind"], experiment["status"]) == ("experiment", "queued")
    rows = experiment["resolved"]["rows"]
    assert [row["label"] for row in rows] == [
        "PRO / 5",
        "PRO / 1 (w/o Cycle)",
        "RRHF / 5",
        "RRHF / 1 (w/o Cycle)",
    ]
    assert rows[3]["values"] == {"objective": "RRHF", "N": "1 (w/o Cycle)"}
    runs = {job.id: job for job in of_kind(engine, "alignment")}
    last = runs[rows[3]["runs"][1]["job_id"]]
    assert last.parent_id == experiment["id"]
    assert (last.seed, last.name) == (2, "RRHF / 1 (w/o Cycle), seed 2")
    assert last.resolved["method"]["objective"]["type"] == "rrhf"
    assert last.resolved["method"]["iterations"] == 1
    assert len(runs) == experiment["progress"]["steps_total"] == 8


def test_a_named_base_names_its_runs(client: TestClient, engine: Engine) -> None:
    base = spec(factories.dataset(engine).id, judge={"name": "rubric"}, name="mine")
    client.post("/v1/experiments", json={"base": base, "axes": [LENGTHS], "seeds": [4]})
    names = [job.name for job in of_kind(engine, "alignment")]
    assert names == ["mine: 5, seed 4", "mine: 1 (w/o Cycle), seed 4"]


def test_a_run_that_is_already_there_is_not_run_again(client: TestClient, engine: Engine) -> None:
    """Names and metadata do not matter; the same file under another id does not either."""
    first = factories.dataset(engine)
    again = factories.dataset(engine, sha256=first.sha256, on_error="skip")
    known = submit(
        client, first.id, judge={"name": "rubric"}, seed=2, name="before", metadata={"a": "b"}
    )
    body = asked(again.id, axes=[], seeds=[1, 2])
    [row] = client.post("/v1/experiments", json=body).json()["resolved"]["rows"]
    assert [run["reused"] for run in row["runs"]] == [False, True]
    assert row["runs"][1]["job_id"] == known["id"]
    assert row["runs"][1]["config_sha256"] == known["config_sha256"]
    client.post(f"/v1/jobs/{known['id']}/cancel")
    [row] = client.post("/v1/experiments", json=body).json()["resolved"]["rows"]
    assert [run["reused"] for run in row["runs"]] == [True, False]


def test_other_content_is_another_config(client: TestClient, engine: Engine) -> None:
    jobs = [submit(client, factories.dataset(engine).id) for _ in range(2)]
    assert jobs[0]["config_sha256"] != jobs[1]["config_sha256"]


def test_cancelling_an_experiment_cancels_what_it_made(client: TestClient, engine: Engine) -> None:
    dataset = factories.dataset(engine).id
    mine = submit(client, dataset, judge={"name": "rubric"}, seed=1)
    experiment = client.post("/v1/experiments", json=asked(dataset, axes=[])).json()
    assert client.post(f"/v1/jobs/{experiment['id']}/cancel").json()["status"] == "cancelled"
    states = {job.seed: job.state for job in of_kind(engine, "alignment")}
    assert states == {1: "queued", 2: "cancelled"}
    assert client.get(f"/v1/jobs/{mine['id']}").json()["status"] == "queued"


def test_the_report_of_an_experiment_that_has_not_begun_names_its_rows(
    client: TestClient, engine: Engine
) -> None:
    dataset = factories.dataset(engine).id
    job = client.post("/v1/experiments", json=asked(dataset)).json()
    report = client.get(f"/v1/jobs/{job['id']}/report").json()
    assert report["complete"] is False
    assert [row["label"] for row in report["rows"]][:2] == ["PRO / 5", "PRO / 1 (w/o Cycle)"]
    assert {one["what"] for one in report["differences"]} >= {"white box", "judge"}
    table = client.get(f"/v1/jobs/{job['id']}/report.csv")
    assert table.headers["content-type"].startswith("text/csv")
    assert len(table.text.splitlines()) == 1 + 4
    page = client.get(f"/v1/jobs/{job['id']}/report.html")
    assert page.headers["content-type"].startswith("text/html")
    assert "Not complete" in page.text


def test_other_jobs_have_no_table(client: TestClient, engine: Engine) -> None:
    job = submit(client, factories.dataset(engine).id)
    for form in ("csv", "html"):
        is_problem(client.get(f"/v1/jobs/{job['id']}/report.{form}"), 404, "no_report")


CONTEST: dict[str, Any] = {"prompts": {"dataset": "ds_" + "0" * 26}}


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"seeds": [1, 1]}, "/seeds", "inconsistent_parameters"),
        ({"seeds": []}, "/seeds", "invalid_length"),
        ({"axes": [OBJECTIVES, OBJECTIVES]}, "/axes", "inconsistent_parameters"),
        (
            {"axes": [{"name": "a", "values": [{"label": "x"}, {"label": "x"}]}]},
            "/axes/0/values",
            "inconsistent_parameters",
        ),
        (
            {"axes": [{"name": "a", "values": [{"label": "start"}]}]},
            "/axes/0/values",
            "inconsistent_parameters",
        ),
        (
            {"axes": [{"name": "a", "values": [{"label": "x", "set": {"/seed": 3}}]}]},
            "/axes/0/values/0/set",
            "inconsistent_parameters",
        ),
        (
            {"axes": [{"name": "a", "values": [{"label": "x", "set": {"/method/itertions": 3}}]}]},
            "/base/method/itertions",
            "unknown_field",
        ),
        (
            {"axes": [{"name": "a", "values": [{"label": "x", "set": {"/judge": None}}]}]},
            "/base/judge",
            "missing",
        ),
        (
            {"axes": [{"name": "a", "values": [{"label": "x", "set": {"/model/name": "no"}}]}]},
            "/base/model/name",
            "model_not_allowed",
        ),
        ({"evaluation": CONTEST}, "/evaluation/prompts/dataset", "dataset_not_found"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_runs(
    client: TestClient, engine: Engine, changes: dict[str, Any], pointer: str, code: str
) -> None:
    body = asked(factories.dataset(engine).id, **changes)
    answer = client.post("/v1/experiments", json=body)
    found = is_problem(answer, 422, code)["errors"]
    assert {one["pointer"] for one in found} == {pointer}
    assert of_kind(engine, "alignment") == []


def test_a_fault_names_its_row(client: TestClient, engine: Engine) -> None:
    axis = {"name": "lr", "values": [{"label": "high", "set": {"/optimizer/lr": 3.0}}]}
    body = asked(factories.dataset(engine).id, axes=[axis])
    [fault] = is_problem(client.post("/v1/experiments", json=body), 422, "out_of_range")["errors"]
    assert fault["message"].startswith("In the row 'high': ")


def test_too_many_runs_are_refused(client: TestClient, engine: Engine) -> None:
    axes = [
        {"name": f"axis {k}", "values": [{"label": str(v)} for v in range(8)]} for k in range(3)
    ]
    body = asked(factories.dataset(engine).id, axes=axes)
    is_problem(client.post("/v1/experiments", json=body), 422, "out_of_range")


def test_a_reward_model_cannot_be_compared(client: TestClient, engine: Engine) -> None:
    pairs = factories.dataset(engine, 0, kind="preferences", row_count=0).id
    base = {
        "model": {"name": "small"},
        "prompts": {"dataset": pairs},
        "method": {"type": "reward_model"},
    }
    contest = {"prompts": {"dataset": factories.dataset(engine).id}}
    body = {"base": base, "evaluation": contest}
    is_problem(client.post("/v1/experiments", json=body), 422, "inconsistent_parameters")
