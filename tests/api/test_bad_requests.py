"""Bad parameters, paths, methods and headers; and what is answered when we are at fault."""

import pytest
from sqlalchemy import create_engine
from starlette.testclient import TestClient
from structlog.typing import EventDict

from app.core.settings import Settings
from app.main import create_app
from tests.api.asking import SECRET, is_problem


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=-1", "out_of_range"),
        ("limit=0", "out_of_range"),
        ("limit=101", "out_of_range"),
        ("limit=100000000000000000000", "out_of_range"),
        ("limit=sk-never-shown", "type_error"),
        ("offset=5", "unknown_parameter"),
        ("sort=name;drop table jobs", "unknown_parameter"),
        ("status=sk-never-shown", "not_allowed"),
        ("name_contains=" + "x" * 201, "invalid_length"),
        ("name_contains=%00", "forbidden_character"),
        ("created_after=yesterday", "type_error"),
        ("created_after=2020-01-01T00:00:00", "invalid_value"),
        ("metadata=x", "unknown_parameter"),
    ],
)
def test_a_bad_parameter_is_refused(shared: TestClient, query: str, code: str) -> None:
    is_problem(shared.get(f"/v1/jobs?{query}"), 422, code)


def test_an_unknown_parameter_comes_with_the_nearest_known_one(shared: TestClient) -> None:
    body = is_problem(shared.get("/v1/jobs?limt=3"), 422, "unknown_parameter")

    assert body["errors"][0]["message"] == "unknown parameter 'limt'; did you mean 'limit'?"


@pytest.mark.parametrize(
    "cursor", ["job_" + "0" * 26, "x", "%00", "' OR 1=1 --", "ds_" + "0" * 26, "é"]
)
def test_a_cursor_that_no_list_gave_is_refused(shared: TestClient, cursor: str) -> None:
    is_problem(shared.get(f"/v1/jobs?after={cursor}"), 400, "invalid_cursor")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/v1/jobs/", 404, "not_found"),
        ("GET", "//v1/jobs", 404, "not_found"),
        ("GET", "/v1/%2e%2e/%2e%2e/etc/passwd", 404, "not_found"),
        ("GET", "/docs/index.html", 404, "not_found"),
        ("POST", "/v1/nothing", 404, "not_found"),
        ("GET", "/v1/jobs?name_contains=" + "x" * 9000, 414, "url_too_long"),
    ],
)
def test_a_path_of_nothing_is_a_problem_as_well(
    shared: TestClient, method: str, path: str, status: int, code: str
) -> None:
    is_problem(shared.request(method, f"http://testserver{path}"), status, code)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/jobs", "GET, POST"),
        ("DELETE", "/v1/jobs", "GET, POST"),
        ("POST", "/healthz", "GET"),
        ("GET", "/v1/jobs/job_0/cancel", "POST"),
        ("OPTIONS", "/v1/jobs", "GET, POST"),
        ("POST", "/v1/checkpoints/c/files/a", "GET, HEAD"),
    ],
)
def test_a_method_that_a_path_does_not_know_is_answered_with_those_it_does(
    shared: TestClient, method: str, path: str, allowed: str
) -> None:
    answer = shared.request(method, path)

    is_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


def test_a_head_of_headers_that_is_too_large_is_refused(shared: TestClient) -> None:
    answer = shared.get("/healthz", headers={"X-Long": "x" * 40_000})

    is_problem(answer, 431, "headers_too_large")


def test_a_request_keeps_the_id_that_it_came_with(shared: TestClient) -> None:
    assert shared.get("/healthz", headers={"X-Request-ID": "abc-1"}).headers["x-request-id"] == (
        "abc-1"
    )


@pytest.mark.parametrize("given_id", ["", "a b", "x" * 65, "a\x1b[31m"])
def test_an_id_that_could_harm_a_log_is_replaced(shared: TestClient, given_id: str) -> None:
    headers = {"X-Request-ID": given_id.encode()}
    answer = shared.get("/healthz", headers=headers)  # type: ignore[arg-type]

    assert answer.headers["x-request-id"].startswith("req_")


def test_a_database_that_is_away_is_a_503_that_says_when_to_come_back(settings: Settings) -> None:
    engine = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    with TestClient(create_app(settings, engine), raise_server_exceptions=False) as client:
        answer = client.get("/v1/jobs")
        alive = client.get("/healthz")

    is_problem(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert alive.json() == {"status": "ok"}


def test_an_error_of_ours_is_a_500_without_its_inside_and_is_logged(
    shared: TestClient, logs: list[EventDict]
) -> None:
    shared.app.state.catalogue, kept = SECRET, shared.app.state.catalogue  # type: ignore[attr-defined]
    answer = shared.get("/v1/models")
    shared.app.state.catalogue = kept  # type: ignore[attr-defined]

    is_problem(answer, 500, "internal_error")
    [entry] = logs
    assert (entry["event"], entry["path"]) == ("unhandled", "/v1/models")
