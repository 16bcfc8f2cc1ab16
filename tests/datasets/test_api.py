"""Datasets over HTTP, good uploads and bad ones, on a real database."""

import asyncio
import gzip
import hashlib
import json
from contextlib import closing
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import Engine, func, select
from starlette.requests import Request
from starlette.testclient import TestClient

from app.api.uploads import Upload, clean_name, receive
from app.core.db import transaction
from app.core.errors import Unavailable
from app.core.models import Dataset
from tests.datasets.conftest import Idle
from tests.datasets.test_store import GOOD, MIXED

BOUNDARY = "lantern"


def post(client: TestClient, data: bytes, file_name: str = "data.jsonl", **fields: str) -> Response:
    form = {"kind": "prompts", **fields}
    files = {"file": (file_name, data, "application/octet-stream")}
    answer: Response = client.post("/v1/datasets", data=form, files=files)
    return answer


def part(name: str, content: bytes, file_name: str | None = None) -> bytes:
    label = f'; filename="{file_name}"' if file_name is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{label}\r\n\r\n'
    return head.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
KIND = part("kind", b"prompts")
FILE = part("file", GOOD, "data.jsonl")


def send(client: TestClient, body: bytes) -> Response:
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    answer: Response = client.post("/v1/datasets", content=body, headers={"Content-Type": kind})
    return answer


def stored(engine: Engine) -> int:
    with transaction(engine) as session:
        return session.scalar(select(func.count()).select_from(Dataset)) or 0


def test_a_new_upload_is_201_with_its_location_and_a_known_one_200(client: TestClient) -> None:
    first = post(client, GOOD, name="mine", subset="harmless")
    body = first.json()
    assert first.status_code == 201
    assert first.headers["location"] == f"/v1/datasets/{body['id']}"
    expected = {
        "object": "dataset",
        "name": "mine",
        "kind": "prompts",
        "on_error": "reject",
        "state": "ready",
        "format": "jsonl",
        "sha256": hashlib.sha256(GOOD).hexdigest(),
        "bytes": len(GOOD),
        "line_count": 2,
        "row_count": 2,
        "issue_count": 0,
        "issue_counts": {},
        "subset_counts": {"harmless": 2},
        "issues": [],
    }
    assert body.items() >= expected.items()
    assert body["created_at"].endswith("Z")
    again = post(client, GOOD, subset="harmless")
    assert (again.status_code, again.json()) == (200, body)
    shown = client.get(first.headers["location"]).json()
    assert {**shown, "issues": []} == body


def test_an_invalid_upload_is_201_with_its_first_100_issues(client: TestClient) -> None:
    answer = post(client, b'{"prompt": ""}\n' * 150)
    body = answer.json()
    assert (answer.status_code, body["state"], body["row_count"]) == (201, "invalid", 0)
    assert (body["issue_count"], len(body["issues"])) == (150, 100)
    assert body["issues"][99] == {
        "line": 100,
        "code": "empty_prompt",
        "message": "The prompt is empty.",
        "pointer": None,
        "severity": "error",
        "excerpt": '{"prompt": ""}',
    }


def test_rows_are_read_back_in_pages(client: TestClient) -> None:
    data = b"".join(
        b'{"prompt": "%d", "id": %d, "metadata": {"n": 1}}\n' % (n, n) for n in range(5)
    )
    url = f"/v1/datasets/{post(client, data).json()['id']}/rows"
    first = client.get(url, params={"limit": 3}).json()
    assert first["data"][2] == {
        "position": 2,
        "line": 3,
        "id": "2",
        "subset": None,
        "split": None,
        "metadata": {"n": 1},
        "messages": [{"role": "user", "content": "2"}],
        "responses": None,
        "ranking": None,
        "scores": None,
    }
    rest = client.get(url, params={"limit": 3, "after": first["last_id"]}).json()
    assert [row["position"] for row in rest["data"]] == [3, 4]
    assert (first["has_more"], rest["has_more"]) == (True, False)


def test_issues_are_paged_or_streamed_whole(client: TestClient) -> None:
    made = post(client, b'{"prompt": ""}\n' * 1200).json()
    url = f"/v1/datasets/{made['id']}/issues"
    page = client.get(url, params={"limit": 2}).json()
    next_page = client.get(url, params={"limit": 2, "after": page["last_id"]}).json()
    assert [issue["line"] for issue in page["data"] + next_page["data"]] == [1, 2, 3, 4]
    streamed = client.get(url, headers={"Accept": "application/x-ndjson"})
    assert streamed.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in streamed.text.splitlines()]
    assert [issue["line"] for issue in lines] == list(range(1, 1201))
    assert lines[0] == page["data"][0]


def test_datasets_are_listed_newest_first_and_filtered(client: TestClient) -> None:
    post(client, GOOD, name="good")
    post(client, MIXED, name="mixed")

    def names(**params: str) -> list[str]:
        return [found["name"] for found in client.get("/v1/datasets", params=params).json()["data"]]

    assert names() == ["mixed", "good"]
    assert names(state="ready") == ["good"]
    assert names(name_contains="MIX") == ["mixed"]
    assert names(kind="preferences") == []
    assert client.get("/v1/datasets", params={"knid": "prompts"}).status_code == 422


def test_an_unknown_dataset_is_404_on_every_path(idle: Idle) -> None:
    for tail in ("", "/rows", "/issues"):
        answer = idle.client.get(f"/v1/datasets/ds_00000000000000000000000000{tail}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_gzip_is_unpacked_whatever_the_file_is_called(client: TestClient) -> None:
    answer = post(client, gzip.compress(GOOD), "notes.png")
    assert (answer.status_code, answer.json()["row_count"]) == (201, 2)


@pytest.mark.parametrize(
    ("data", "fields", "status", "code"),
    [
        (b"\x89PNG\r\n\x1a\n", {}, 415, "unsupported_format"),
        (b"PK\x03\x04 data", {}, 415, "unsupported_format"),
        (b"", {}, 422, "dataset_empty"),
        (b"\n\n", {}, 422, "dataset_empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", {}, 422, "git_lfs_pointer"),
        (b"x" * ((1 << 20) + 1), {}, 413, "body_too_large"),
        (b"x" * (2 << 20), {}, 413, "body_too_large"),
        (gzip.compress(bytes(32 << 20), mtime=0), {}, 413, "decompressed_too_large"),
        (GOOD, {"kind": "prompt"}, 422, "not_allowed"),
        (GOOD, {"on_error": "ignore"}, 422, "not_allowed"),
        (GOOD, {"name": "a\x00b"}, 422, "forbidden_character"),
        (GOOD, {"name": "x" * 121}, 422, "invalid_length"),
        (GOOD, {"name": "x" * 5000}, 413, "part_too_large"),
        (GOOD, {"sha256": "0" * 64}, 422, "checksum_mismatch"),
        (GOOD, {"is_admin": "1"}, 422, "unknown_field"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_bad_upload_is_refused_and_leaves_nothing(
    idle: Idle, data: bytes, fields: dict[str, str], status: int, code: str
) -> None:
    answer = post(idle.client, data, **fields)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert stored(idle.engine) == 0


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (KIND + FILE, 400, "malformed_multipart"),
        (KIND + FILE[:-20], 400, "malformed_multipart"),
        (b"no parts at all", 400, "malformed_multipart"),
        (b"", 400, "malformed_multipart"),
        (KIND + END, 422, "missing_file"),
        (FILE + END, 422, "missing"),
        (KIND + FILE + FILE + END, 400, "duplicate_part"),
        (KIND + KIND + FILE + END, 400, "duplicate_part"),
        (KIND + b"".join(part(f"p{n}", b"") for n in range(2000)) + END, 400, "too_many_parts"),
        (KIND + part("file", GOOD, "a").replace(b"\r\n\r\n", b"\r\nX: y" * 5000), 400, None),
        (part("kind", b"\xff") + FILE + END, 400, "invalid_encoding"),
    ],
    ids=lambda value: str(value)[-30:],
)
def test_a_bad_form_is_refused_and_leaves_nothing(
    idle: Idle, body: bytes, status: int, code: str | None
) -> None:
    answer = send(idle.client, body)
    assert (answer.status_code, answer.json()["code"]) == (status, code or "malformed_multipart")
    assert stored(idle.engine) == 0


def test_the_order_of_the_parts_does_not_matter(client: TestClient) -> None:
    assert send(client, FILE + KIND + END).status_code == 201


def test_other_content_types_are_refused(idle: Idle) -> None:
    for kind in ("application/json", "application/x-ndjson", "multipart/form-data"):
        answer = idle.client.post("/v1/datasets", content=GOOD, headers={"Content-Type": kind})
        expected = 400 if kind.startswith("multipart") else 415
        assert answer.status_code == expected, kind


def test_a_close_name_is_offered_for_an_unknown_part(idle: Idle) -> None:
    assert "did you mean 'on_error'?" in post(idle.client, GOOD, onerror="skip").json()["detail"]


def test_an_answer_never_shows_what_was_sent_in_a_field(idle: Idle) -> None:
    assert "sesame" not in post(idle.client, GOOD, kind="sesame").text


@pytest.mark.parametrize(
    ("sent", "label"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\con.jsonl", "con.jsonl"),
        ("a\x00b\u202ec\n.jsonl", "abc.jsonl"),
        ("x" * 5000, "x" * 120),
        ("..", "dataset"),
        ("", "dataset"),
    ],
)
def test_a_file_name_is_only_a_clean_label(sent: str, label: str) -> None:
    assert clean_name(sent) == label


def test_a_silent_client_is_not_waited_for() -> None:
    async def silent() -> Any:
        await asyncio.sleep(60)

    async def upload() -> None:
        kind = f"multipart/form-data; boundary={BOUNDARY}".encode()
        scope = {"type": "http", "method": "POST", "headers": [(b"content-type", kind)]}
        with closing(Upload(1000)) as given:
            await receive(Request(scope, silent), given, 0.05)

    with pytest.raises(Unavailable) as caught:
        asyncio.run(upload())
    assert caught.value.code == "request_timeout"
