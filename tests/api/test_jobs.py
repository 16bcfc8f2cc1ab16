"""Reading, listing and cancelling jobs."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.core.db import transaction
from app.core.models import Attempt, Job, JobEvent, State, allowed_actions
from tests import factories
from tests.api.asking import leased


@pytest.mark.parametrize(
    ("state", "status", "after"),
    [
        (State.QUEUED, 200, State.CANCELLED),
        (State.RUNNING, 200, State.CANCELLING),
        (State.PAUSING, 200, State.CANCELLING),
        (State.PAUSED, 200, State.CANCELLED),
        (State.CANCELLING, 200, State.CANCELLING),
        (State.CANCELLED, 200, State.CANCELLED),
        (State.SUCCEEDED, 409, State.SUCCEEDED),
        (State.FAILED, 409, State.FAILED),
    ],
)
def test_cancelling_follows_the_table(
    client: TestClient, engine: Engine, state: State, status: int, after: State
) -> None:
    busy = state in {State.RUNNING, State.PAUSING, State.CANCELLING}
    job = factories.job(engine, state=state.value, **(leased() if busy else {}))

    answer = client.post(f"/v1/jobs/{job.id}/cancel")

    assert answer.status_code == status
    shown = client.get(f"/v1/jobs/{job.id}").json()
    assert shown["status"] == after
    assert shown["allowed_actions"] == list(allowed_actions(after))
    if status == 409:
        problem = answer.json()
        assert problem["code"] == "invalid_state"
        assert problem["state"] == state
        assert problem["allowed_actions"] == list(allowed_actions(state))


@pytest.mark.parametrize(
    ("action", "state", "status", "after"),
    [
        ("pause", State.QUEUED, 200, State.PAUSED),
        ("pause", State.RUNNING, 200, State.PAUSING),
        ("pause", State.PAUSED, 200, State.PAUSED),
        ("pause", State.CANCELLING, 409, State.CANCELLING),
        ("pause", State.SUCCEEDED, 409, State.SUCCEEDED),
        ("resume", State.PAUSED, 200, State.QUEUED),
        ("resume", State.RUNNING, 200, State.RUNNING),
        ("resume", State.PAUSING, 409, State.PAUSING),
        ("resume", State.FAILED, 409, State.FAILED),
        ("retry", State.FAILED, 200, State.QUEUED),
        ("retry", State.CANCELLED, 200, State.QUEUED),
        ("retry", State.QUEUED, 200, State.QUEUED),
        ("retry", State.SUCCEEDED, 409, State.SUCCEEDED),
        ("retry", State.PAUSED, 409, State.PAUSED),
    ],
)
def test_pausing_resuming_and_retrying_follow_the_table(
    client: TestClient, engine: Engine, action: str, state: State, status: int, after: State
) -> None:
    busy = state in {State.RUNNING, State.PAUSING, State.CANCELLING}
    job = factories.job(engine, state=state.value, **(leased() if busy else {}))
    answer = client.post(f"/v1/jobs/{job.id}/{action}")
    assert answer.status_code == status, answer.text
    assert client.get(f"/v1/jobs/{job.id}").json()["status"] == after
    if status == 409:
        assert answer.json()["code"] == "invalid_state"


def test_a_retried_job_counts_its_errors_anew(client: TestClient, engine: Engine) -> None:
    job = factories.job(
        engine, state="failed", failures=3, stalls=2, error={"code": "judge_quota", "detail": "no"}
    )
    shown = client.post(f"/v1/jobs/{job.id}/retry").json()
    assert (shown["error"], shown["finished_at"]) == (None, None)
    with transaction(engine) as session:
        found = session.get_one(Job, job.id)
        assert (found.failures, found.stalls) == (0, 0)


def test_an_experiment_is_paused_and_resumed_with_its_parts(
    client: TestClient, engine: Engine
) -> None:
    whole = factories.job(engine, kind="experiment")
    parts = {
        state: factories.job(
            engine, parent_id=whole.id, state=state, **(leased() if state == "running" else {})
        ).id
        for state in ("queued", "running", "succeeded")
    }
    client.post(f"/v1/jobs/{whole.id}/pause")
    shown = [client.get(f"/v1/jobs/{job_id}").json()["status"] for job_id in parts.values()]
    assert shown == ["paused", "pausing", "succeeded"]
    client.post(f"/v1/jobs/{whole.id}/resume")
    shown = [client.get(f"/v1/jobs/{job_id}").json()["status"] for job_id in parts.values()]
    assert shown == ["queued", "pausing", "succeeded"]


def test_cancelling_twice_changes_nothing_the_second_time(
    client: TestClient, engine: Engine
) -> None:
    job = factories.job(engine, state="running", **leased())
    first = client.post(f"/v1/jobs/{job.id}/cancel").json()

    second = client.post(f"/v1/jobs/{job.id}/cancel").json()

    assert first["cancel_requested_at"]
    assert second["cancel_requested_at"] == first["cancel_requested_at"]
    with transaction(engine) as session:
        assert len(session.scalars(select(JobEvent)).all()) == 1


def test_a_job_that_was_cancelled_while_it_waited_is_finished(
    client: TestClient, engine: Engine
) -> None:
    job = factories.job(engine)

    assert client.post(f"/v1/jobs/{job.id}/cancel").json()["finished_at"].endswith("Z")


def test_a_running_job_says_how_far_it_is_and_when_it_may_end(
    client: TestClient, engine: Engine
) -> None:
    started = datetime.now(UTC) - timedelta(seconds=100)
    progress = {"steps_done": 2, "iterations_done": 5, "mean_iterations": 2.5, "step": 2}
    job = factories.job(
        engine, state="running", steps_total=4, started_at=started, progress=progress, **leased()
    )

    shown = client.get(f"/v1/jobs/{job.id}").json()

    assert shown["progress"]["fraction"] == 0.5
    assert shown["progress"]["step"] == 2
    assert shown["eta_seconds"] == pytest.approx(100, abs=5)
    assert shown["estimated_finish_at"] > shown["started_at"]


def test_a_job_shows_its_attempts_with_the_versions_they_ran_on(
    client: TestClient, engine: Engine
) -> None:
    job = factories.job(engine, attempt=1)
    factories.save(
        engine,
        Attempt(
            job_id=job.id,
            attempt=1,
            token=1,
            owner="w-1",
            started_at=datetime.now(UTC),
            from_round=0,
            environment={"versions": {"torch": "2.13.0"}},
        ),
    )

    [attempt] = client.get(f"/v1/jobs/{job.id}").json()["attempts"]

    assert attempt["environment"]["versions"]["torch"] == "2.13.0"


@pytest.mark.parametrize(
    "job_id", ["job_" + "0" * 26, "ds_" + "0" * 26, "1", "job_%00", "job_' OR 1=1 --"]
)
def test_an_id_of_nobody_is_not_found(client: TestClient, job_id: str) -> None:
    answer = client.get(f"/v1/jobs/{job_id}")

    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


def test_a_job_of_another_workspace_looks_like_none(client: TestClient, engine: Engine) -> None:
    other = factories.job(engine, workspace_id="ws_other")

    theirs = client.get(f"/v1/jobs/{other.id}").json()
    nobodys = client.get("/v1/jobs/job_" + "0" * 26).json()

    volatile = {"instance", "request_id"}
    assert {k: v for k, v in theirs.items() if k not in volatile} == {
        k: v for k, v in nobodys.items() if k not in volatile
    }
    assert client.get("/v1/jobs").json()["data"] == []


def test_a_list_shows_the_newest_job_first(client: TestClient, engine: Engine) -> None:
    ids = [factories.job(engine).id for _ in range(3)]

    page = client.get("/v1/jobs").json()

    assert [job["id"] for job in page["data"]] == ids[::-1]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[2], ids[0], False)


def test_pages_lose_and_repeat_nothing_while_jobs_are_added(
    client: TestClient, engine: Engine
) -> None:
    before = [factories.job(engine).id for _ in range(7)]
    seen: list[str] = []
    after = None
    more = True
    while more:
        params = {"limit": 3} | ({"after": after} if after else {})
        page = client.get("/v1/jobs", params=params).json()
        seen += [job["id"] for job in page["data"]]
        after, more = page["last_id"], page["has_more"]
        factories.job(engine)

    assert seen == before[::-1]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("status=queued", {"50%_off", "plain"}),
        ("status=queued,failed", {"50%_off", "plain", "Broken"}),
        ("name_contains=%25_", {"50%_off"}),
        ("name_contains=BROK", {"Broken"}),
        ("metadata[team]=x", {"plain"}),
        ("metadata[team]=x&metadata[run]=2", set()),
        ("created_after=2020-01-01T00:00:00Z", {"50%_off", "plain", "Broken"}),
        ("created_before=2020-01-01T00:00:00%2B02:00", set()),
    ],
)
def test_filters_narrow_the_list(
    client: TestClient, engine: Engine, query: str, names: set[str]
) -> None:
    factories.job(engine, name="50%_off")
    factories.job(engine, name="plain", meta={"team": "x", "run": "1"})
    factories.job(engine, name="Broken", state="failed")

    answer = client.get(f"/v1/jobs?{query}")

    assert answer.status_code == 200, answer.text
    assert {job["name"] for job in answer.json()["data"]} == names
