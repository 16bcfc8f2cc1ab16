"""Bodies that cannot be read are refused before anything is done with them."""

import json
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from tests.api.asking import GOOD, JSON, is_problem, post


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
