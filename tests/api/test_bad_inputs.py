"""Every bad input has its status, its code and its place, and none of its values in the answer."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine
from starlette.testclient import TestClient
from structlog.typing import EventDict

from app.api.faults import known_fields
from app.core.settings import Settings
from app.core.spec.job import JobSpec
from app.main import create_app

SECRET = "sk-never-shown"
GOOD: dict[str, Any] = {
    "model": {"name": "small"},
    "judge": {"name": "rubric"},
    "prompts": {"dataset": "ds_" + "0" * 26},
    "method": {"type": "cyclealign"},
}
JSON = {"Content-Type": "application/json"}


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


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b'{"name": sk-never-shown}', 400, "malformed_json"),
        (b'{"name": "sk-never-shown"', 400, "malformed_json"),
        (b'{"seed": NaN}', 400, "malformed_json"),
        (b'{"seed": -Infinity}', 400, "malformed_json"),
        (b'{"seed": 1, "seed": 2}', 400, "duplicate_key"),
        (b'{"model": {"name": "a", "name": "sk-never-shown"}}', 400, "duplicate_key"),
        (nested(65), 400, "too_deep"),
        (nested(100_000), 400, "too_deep"),
        (b'{"seed": ' + b"9" * 5000 + b"}", 400, "number_too_long"),
        (b'{"name": "\xff"}', 400, "invalid_encoding"),
        ('{"name": "a"}'.encode("utf-16"), 400, "invalid_encoding"),
        (b'\xef\xbb\xbf{"name": "a"}', 400, "invalid_encoding"),
        (b"", 422, "body_required"),
        (b"[]", 422, "object_expected"),
        (b'"sk-never-shown"', 422, "object_expected"),
        (b'{"name": "' + b"x" * (1 << 20) + b'"}', 413, "body_too_large"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    shared: TestClient, content: bytes, status: int, code: str
) -> None:
    is_problem(post(shared, content), status, code)


def test_malformed_json_is_named_by_line_and_column(shared: TestClient) -> None:
    body = is_problem(post(shared, '{"a": 1,\n "b": nope}'), 400, "malformed_json")

    assert (body["line"], body["column"]) == (2, 7)
    assert "line 2, column 7" in body["detail"]


def test_a_not_a_number_is_named_by_line_and_column_but_not_inside_of_text(
    shared: TestClient,
) -> None:
    body = is_problem(post(shared, '{"a": "NaN",\n"b": NaN}'), 400, "malformed_json")

    assert (body["line"], body["column"]) == (2, 6)


def test_the_deepest_allowed_nesting_is_read(shared: TestClient) -> None:
    is_problem(post(shared, nested(64)), 422, "invalid")


def test_brackets_inside_of_text_are_no_nesting(shared: TestClient) -> None:
    body = {**GOOD, "name": '[{"\\' * 30, "unknown": 1}

    is_problem(post(shared, json.dumps(body)), 422, "unknown_field")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_of_another_content_type_is_refused(shared: TestClient, kind: str) -> None:
    answer = shared.post("/v1/jobs", content=json.dumps(GOOD), headers={"Content-Type": kind})

    assert "application/json" in is_problem(answer, 415, "unsupported_media_type")["detail"]


def test_a_charset_beside_the_content_type_is_accepted(shared: TestClient) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    answer = shared.post("/v1/jobs", content="{", headers=headers)

    is_problem(answer, 400, "malformed_json")


def test_a_compressed_body_is_refused(shared: TestClient) -> None:
    answer = post(shared, b"\x1f\x8b", **{"Content-Encoding": "gzip"})

    is_problem(answer, 415, "unsupported_content_encoding")


def test_a_body_without_a_length_is_stopped_at_the_limit(shared: TestClient) -> None:
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(4096):
            sent += 1 << 16
            yield b" " * (1 << 16)

    is_problem(shared.post("/v1/jobs", content=chunks(), headers=JSON), 413, "body_too_large")


def test_a_body_that_declares_too_much_is_refused_before_it_is_read(shared: TestClient) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"{}"

    headers = {**JSON, "Content-Length": str(200 << 20)}
    is_problem(shared.post("/v1/jobs", content=chunks(), headers=headers), 413, "body_too_large")


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"name": "a\x00"}, "/name", "forbidden_character"),
        ({"metadata": {"k": "a\x00"}}, "/metadata/k", "forbidden_character"),
        ({"name": "\ud800"}, "/name", "invalid_unicode"),
        ({"metadata": {"k": "\ud800"}}, "/metadata/k", "invalid_unicode"),
        ({"seed": 99999999999999999999}, "/seed", "out_of_range"),
        ({"seed": -1}, "/seed", "out_of_range"),
        ({"seed": "1"}, "/seed", "type_error"),
        ({"seed": True}, "/seed", "type_error"),
        ({"seed": 1.5}, "/seed", "type_error"),
        ({"optimizer": {"lr": 0}}, "/optimizer/lr", "out_of_range"),
        ({"optimizer": {"lr": 1.5}}, "/optimizer/lr", "out_of_range"),
        ({"optimizer": {"betas": [0.9]}}, "/optimizer/betas/1", "missing"),
        ({"optimizer": {"betas": [0.9, 1]}}, "/optimizer/betas/1", "out_of_range"),
        ({"generation": {"temperature": -1}}, "/generation/temperature", "out_of_range"),
        ({"generation": {"top_p": 1.1}}, "/generation/top_p", "out_of_range"),
        ({"method": {"candidates": 1}}, "/method/candidates", "out_of_range"),
        ({"method": {"candidates": 17}}, "/method/candidates", "out_of_range"),
        ({"method": {"iterations": 51}}, "/method/iterations", "out_of_range"),
        ({"method": {"teacher": SECRET}}, "/method/teacher", "not_allowed"),
        ({"method": {"objective": {"type": SECRET}}}, "/method/objective", "unknown_type"),
        ({"method": {"objective": {}}}, "/method/objective", "missing"),
        (
            {"method": {"objective": {"type": "rrhf", "lambda": -1}}},
            "/method/objective/lambda",
            "out_of_range",
        ),
        (
            {"method": {"objective": {"type": "rrhf", "lambda": SECRET}}},
            "/method/objective/lambda",
            "not_allowed",
        ),
        ({"demonstrations": SECRET}, "/demonstrations", "type_error"),
        ({"demonstrations": {}}, "/demonstrations/dataset", "missing"),
        ({"prompts": {"dataset": "job_" + "0" * 26}}, "/prompts/dataset", "invalid_format"),
        ({"prompts": {}}, "/prompts/dataset", "missing"),
        ({"model": {"name": "../etc/passwd"}}, "/model/name", "invalid_format"),
        ({"model": {"name": "/abs"}}, "/model/name", "invalid_format"),
        ({"model": {"name": "file:///x"}}, "/model/name", "invalid_format"),
        ({"model": {"name": "other@main"}}, "/model/name", "invalid_format"),
        ({"name": ""}, "/name", "invalid_length"),
        ({"name": "x" * 121}, "/name", "invalid_length"),
        ({"metadata": {str(n): "" for n in range(17)}}, "/metadata", "invalid_length"),
        ({"metadata": {"k": 1}}, "/metadata/k", "type_error"),
        ({"is_admin": True}, "/is_admin", "unknown_field"),
        ({"workspace_id": "ws"}, "/workspace_id", "unknown_field"),
        ({"state": "running"}, "/state", "unknown_field"),
        ({"spent_micros": 1}, "/spent_micros", "unknown_field"),
        ({"a/b~c": 1}, "/a~1b~0c", "unknown_field"),
    ],
)
def test_a_bad_value_is_named_by_its_place_and_code(
    shared: TestClient, change: dict[str, Any], pointer: str, code: str
) -> None:
    body = is_problem(post(shared, json.dumps({**GOOD, **change})), 422, code)

    assert [(fault["pointer"], fault["code"]) for fault in body["errors"]] == [(pointer, code)]
    assert body["error"]["param"] == pointer[1:].replace("/", ".")


def test_an_infinite_number_is_refused(shared: TestClient) -> None:
    body = json.dumps({**GOOD, "optimizer": {"lr": 0.5}}).replace("0.5", "1e999")

    is_problem(post(shared, body), 422, "finite_number_required")


def test_all_faults_are_in_one_answer(shared: TestClient) -> None:
    change = {"method": {"itertions": 1, "candidates": 1}, "seed": -1}

    body = is_problem(post(shared, json.dumps({**GOOD, **change})), 422, "invalid")

    assert {fault["pointer"] for fault in body["errors"]} == {
        "/method/itertions",
        "/method/candidates",
        "/seed",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"method": {"itertions": 1}},
            "unknown field 'itertions'; did you mean 'iterations'?",
        ),
        (
            {"method": {"objective": {"type": "rrhf", "lamda": 1}}},
            "unknown field 'lamda'; did you mean 'lambda'?",
        ),
        (
            {"model": {"name": "a", "tuning": {"type": "lora", "rnk": 1}}},
            "unknown field 'rnk'; did you mean 'rank'?",
        ),
        (
            {"demonstrations": {"datset": "x", "dataset": GOOD["prompts"]["dataset"]}},
            "unknown field 'datset'; did you mean 'dataset'?",
        ),
        (
            {"prompts": {**GOOD["prompts"], "zzz": 1}},
            "unknown field 'zzz'; known: dataset, sample.",
        ),
    ],
)
def test_an_unknown_field_comes_with_the_nearest_known_one(
    shared: TestClient, change: dict[str, Any], message: str
) -> None:
    body = is_problem(post(shared, json.dumps({**GOOD, **change})), 422, "unknown_field")

    assert [fault["message"] for fault in body["errors"]] == [message]


def test_the_known_fields_of_a_place_are_those_of_the_variant_that_was_meant() -> None:
    assert known_fields(JobSpec, ("model", "tuning", "full")) == {"type"}
    assert known_fields(JobSpec, ("model", "tuning", "lora")) == {"type", "rank", "alpha"}


def test_a_missing_field_beside_a_secret_does_not_show_the_secret(shared: TestClient) -> None:
    body = {"api_key": SECRET, "judge": {"name": "rubric", "key": SECRET}}

    is_problem(post(shared, json.dumps(body)), 422, "invalid")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(SECRET) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*JobSpec.model_fields, "other"]), json_values))
def test_no_json_object_breaks_the_service_or_is_shown_back(
    shared: TestClient, body: dict[str, Any]
) -> None:
    answer = post(shared, json.dumps(body))

    assert answer.status_code in {400, 422}
    assert SECRET not in answer.text


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
