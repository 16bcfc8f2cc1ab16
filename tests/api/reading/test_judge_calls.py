"""Reading back the judge's ledger."""

import json

from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.core.models import Job
from tests import factories
from tests.api.asking import LINES


def test_a_judge_call_shows_what_it_asked_cost_and_was_answered(
    client: TestClient, engine: Engine, job: Job
) -> None:
    row = factories.judge_call(job, ambiguous=True, seconds=0.5)
    factories.save(engine, row, factories.question(job))

    [shown] = client.get(f"/v1/jobs/{job.id}/judge-calls").json()["data"]

    assert (shown["key"], shown["repeat"], shown["try"]) == (row.key, 0, 0)
    assert shown["kind"] == "post"
    assert (shown["state"], shown["reply"], shown["question_sha256"]) == (
        *("done", "[0, 1]"),
        "ab" * 32,
    )
    assert (shown["tokens_in"], shown["tokens_out"], shown["cost_micros"]) == (10, 2, 7)
    assert shown["ambiguous"] is True
    assert shown["request"] is None


def test_a_judge_call_shows_all_that_was_asked_if_wanted(
    client: TestClient, engine: Engine, job: Job
) -> None:
    factories.save(engine, factories.judge_call(job), factories.question(job))

    path = f"/v1/jobs/{job.id}/judge-calls?include_request=true"
    [shown] = client.get(path).json()["data"]

    assert shown["request"] == {"messages": ["asked"]}


def test_a_judge_call_never_shows_the_question_of_another_workspace(
    client: TestClient, engine: Engine, job: Job
) -> None:
    theirs = factories.question(job, workspace_id="ws_other", reply="theirs")
    factories.save(engine, factories.judge_call(job), theirs)

    [shown] = client.get(f"/v1/jobs/{job.id}/judge-calls").json()["data"]

    assert (shown["state"], shown["reply"]) == (None, None)


def test_judge_calls_come_as_json_lines(client: TestClient, engine: Engine, job: Job) -> None:
    calls = [factories.judge_call(job, step, try_=n) for step in range(2) for n in range(2)]
    factories.save(engine, *calls, factories.question(job), factories.question(job, 1))

    text = client.get(f"/v1/jobs/{job.id}/judge-calls", headers=LINES).text

    rows = [json.loads(line) for line in text.splitlines()]
    assert [(row["step"], row["try"]) for row in rows] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all(row["reply"] for row in rows)
