"""Reading back what a run recorded."""

import json
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.core.models import (
    AgreementRow,
    Checkpoint,
    DemonstrationRow,
    Job,
    JobEvent,
    JobPrompt,
    new_id,
)
from tests import factories
from tests.api.asking import LINES


@pytest.fixture
def job(engine: Engine) -> Job:
    """A job that others' rows stand beside."""
    other = factories.job(engine)
    factories.save(engine, factories.ranking(other), event(other, 1))
    return factories.job(engine)


def event(job: Job, seq: int, **fields: Any) -> JobEvent:
    columns = {"type": "round", "level": "info", "message": f"event {seq}", "data": {}}
    return JobEvent(job_id=job.id, seq=seq, attempt=1, **{**columns, **fields})


def agreement(job: Job, step: int, candidates: int) -> AgreementRow:
    return AgreementRow(
        job_id=job.id,
        stage="align",
        step=step,
        iteration=0,
        round=1,
        update=1,
        agreement=[1, 0],
        length=2,
        candidates=candidates,
        complete=False,
        kendall_tau=0.5,
    )


def pages(client: TestClient, path: str, limit: int, **params: Any) -> list[list[dict[str, Any]]]:
    found = []
    asked: dict[str, Any] = {"limit": limit, **params}
    more = True
    while more:
        page = client.get(path, params=asked).json()
        found.append(page["data"])
        asked["after"], more = page["last_id"], page["has_more"]
    return found


def test_events_are_paged_in_their_order(client: TestClient, engine: Engine, job: Job) -> None:
    factories.save(engine, *(event(job, seq) for seq in range(1, 8)))

    found = pages(client, f"/v1/jobs/{job.id}/events", 3)

    assert [[row["seq"] for row in page] for page in found] == [[1, 2, 3], [4, 5, 6], [7]]
    assert found[0][0]["message"] == "event 1"
    assert found[0][0]["created_at"].endswith("Z")


def test_events_can_be_asked_for_by_type(client: TestClient, engine: Engine, job: Job) -> None:
    factories.save(engine, event(job, 1), event(job, 2, type="checkpoint"))

    [row] = client.get(f"/v1/jobs/{job.id}/events?type=checkpoint").json()["data"]

    assert row["seq"] == 2


def test_all_events_come_as_json_lines_whatever_their_number(
    client: TestClient, engine: Engine, job: Job
) -> None:
    factories.save(engine, *(event(job, seq) for seq in range(1, 451)))

    answer = client.get(f"/v1/jobs/{job.id}/events", headers=LINES)

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["seq"] for line in answer.text.splitlines()] == [*range(1, 451)]


def test_a_run_without_rows_is_an_empty_page_and_no_lines(client: TestClient, job: Job) -> None:
    page = client.get(f"/v1/jobs/{job.id}/rankings").json()

    assert page == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }
    assert client.get(f"/v1/jobs/{job.id}/rankings", headers=LINES).text == ""


def test_a_ranking_shows_its_prompt_responses_and_both_orders(
    client: TestClient, engine: Engine, job: Job
) -> None:
    dataset = factories.dataset(engine)
    prompt = JobPrompt(job_id=job.id, stage="align", step=5, dataset_id=dataset.id, position=2)
    row = factories.ranking(job, 5, raw_reply="[1, 0]", loss={"total": 1.5}, update=3)
    first = factories.response(job, 5, k=0, belief=-1.0)
    second = factories.response(job, 5, k=1, merged_into=0, score=0.5)
    factories.save(engine, prompt, row, second, first, factories.response(job, 6))

    [shown] = client.get(f"/v1/jobs/{job.id}/rankings").json()["data"]

    assert shown["prompt"] == [{"role": "user", "content": "prompt 2"}]
    assert [one["k"] for one in shown["responses"]] == [0, 1]
    assert shown["responses"][0]["text"] == "answer 0"
    assert shown["responses"][0]["belief"] == -1.0
    assert shown["responses"][0]["token_ids"] == [1, 2, 3]
    assert shown["responses"][1]["merged_into"] == 0
    assert shown["responses"][1]["score"] == 0.5
    assert shown["white_box"] == [[0], [1]]
    assert shown["black_box"] == [[1], [0]]
    assert shown["presented"] == [1, 0]
    assert shown["raw_reply"] == "[1, 0]"
    assert shown["loss"] == {"total": 1.5}
    assert (shown["outcome"], shown["update"]) == ("updated", 3)
    assert shown["orders"] is None


def test_a_ranking_shows_every_order_that_was_asked_about(
    client: TestClient, engine: Engine, job: Job
) -> None:
    unread = {"presented": [1, 0], "black_box": None, "fault": "not_json", "raw_reply": "Hm."}
    read = {"presented": [0, 1], "black_box": [[1], [0]], "fault": None, "raw_reply": "[1, 0]"}
    factories.save(engine, factories.ranking(job, orders=[unread, read]))

    [shown] = client.get(f"/v1/jobs/{job.id}/rankings").json()["data"]

    assert shown["orders"] == [unread, read]


def test_a_ranking_whose_prompt_is_gone_is_still_shown(
    client: TestClient, engine: Engine, job: Job
) -> None:
    factories.save(engine, factories.ranking(job))

    [shown] = client.get(f"/v1/jobs/{job.id}/rankings").json()["data"]

    assert (shown["prompt"], shown["responses"]) == ([], [])


def test_rankings_are_paged_by_their_place_in_the_run(
    client: TestClient, engine: Engine, job: Job
) -> None:
    places = [(step, iteration) for step in range(3) for iteration in range(3)]
    factories.save(engine, *(factories.ranking(job, *place) for place in reversed(places)))

    found = pages(client, f"/v1/jobs/{job.id}/rankings", 2)

    assert [(row["step"], row["iteration"]) for page in found for row in page] == places


@pytest.mark.parametrize(
    ("query", "count"),
    [("step=1", 2), ("outcome=agreed", 1), ("stage=align", 3), ("stage=other", 0)],
)
def test_rankings_can_be_filtered(
    client: TestClient, engine: Engine, job: Job, query: str, count: int
) -> None:
    rows = [factories.ranking(job, 0), factories.ranking(job, 1)]
    factories.save(engine, *rows, factories.ranking(job, 1, 1, outcome="agreed"))

    assert len(client.get(f"/v1/jobs/{job.id}/rankings?{query}").json()["data"]) == count


def test_rankings_come_as_json_lines_with_their_responses(
    client: TestClient, engine: Engine, job: Job
) -> None:
    steps = range(205)
    factories.save(engine, *(factories.ranking(job, step) for step in steps))
    factories.save(engine, *(factories.response(job, step) for step in steps))

    text = client.get(f"/v1/jobs/{job.id}/rankings", headers=LINES).text

    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["step"] for row in rows] == [*steps]
    assert all(len(row["responses"]) == 1 for row in rows)


def test_responses_of_held_out_prompts_can_be_read_with_their_prompt(
    client: TestClient, engine: Engine, job: Job
) -> None:
    dataset = factories.dataset(engine)
    prompt = JobPrompt(job_id=job.id, stage="held_out", step=0, dataset_id=dataset.id, position=3)
    factories.save(engine, prompt, factories.response(job, stage="held_out_before", score=0.25))

    [shown] = client.get(f"/v1/jobs/{job.id}/responses?stage=held_out_before").json()["data"]

    assert (shown["score"], shown["k"]) == (0.25, 0)
    assert shown["prompt"] == [{"role": "user", "content": "prompt 3"}]


@pytest.mark.parametrize(("candidates", "chance"), [(2, 1.5), (3, 2.0), (4, 58 / 24)])
def test_an_agreement_stands_beside_its_length_by_chance(
    client: TestClient, engine: Engine, job: Job, candidates: int, chance: float
) -> None:
    factories.save(engine, agreement(job, 0, candidates))

    [shown] = client.get(f"/v1/jobs/{job.id}/agreements").json()["data"]

    assert shown["agreement"] == [1, 0]
    assert shown["chance_length"] == pytest.approx(chance)


def test_demonstrations_show_what_the_judge_reads(
    client: TestClient, engine: Engine, job: Job
) -> None:
    row = DemonstrationRow(
        job_id=job.id,
        stage="align",
        step=0,
        iteration=0,
        round=1,
        origin="agreement",
        messages=[{"role": "user", "content": "q"}],
        responses=["a", "b"],
        answer=[[1], [0]],
    )
    factories.save(engine, row)

    [shown] = client.get(f"/v1/jobs/{job.id}/demonstrations").json()["data"]

    assert (shown["responses"], shown["answer"]) == (["a", "b"], [[1], [0]])


def test_the_checkpoints_of_a_job_are_listed_oldest_first(
    client: TestClient, engine: Engine, job: Job
) -> None:
    for round_ in (2, 1):
        factories.save(engine, _checkpoint(job, round_))

    rows = client.get(f"/v1/jobs/{job.id}/checkpoints").json()["data"]

    assert [row["round"] for row in rows] == [1, 2]
    assert "manifest" not in rows[0]


def _checkpoint(job: Job, round_: int) -> Checkpoint:
    return Checkpoint(
        id=new_id("ckpt"),
        job_id=job.id,
        round=round_,
        update=1,
        steps_done=1,
        token=1,
        attempt=1,
        final=False,
        manifest={"files": []},
        manifest_sha256="",
        bytes=0,
        metrics={},
    )


RUN_LISTS = ["events", "rankings", "responses", "agreements", "demonstrations", "judge-calls"]


@pytest.mark.parametrize("name", [*RUN_LISTS, "checkpoints", "metrics"])
def test_the_rows_of_nobodys_job_are_not_found(shared: TestClient, name: str) -> None:
    answer = shared.get(f"/v1/jobs/job_{'0' * 26}/{name}")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_cursor_of_another_list_is_refused(client: TestClient, engine: Engine, job: Job) -> None:
    factories.save(engine, factories.ranking(job), agreement(job, 0, 2), event(job, 1))
    other = factories.job(engine)
    cursor = client.get(f"/v1/jobs/{job.id}/rankings").json()["last_id"]
    at = f"after={cursor}"

    assert client.get(f"/v1/jobs/{job.id}/rankings?{at}").status_code == 200
    for path in (
        f"/v1/jobs/{other.id}/rankings?{at}",
        f"/v1/jobs/{job.id}/agreements?{at}",
        f"/v1/jobs/{job.id}/rankings?{at}x",
        f"/v1/jobs/{job.id}/events?after=WyJ4IiwxXQ",
    ):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor"), path
