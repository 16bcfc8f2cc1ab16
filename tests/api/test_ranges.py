"""Byte ranges of a checkpoint's files are exactly the slices."""

from email import message_from_bytes
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.api.ranges import Unsatisfiable, read_ranges
from app.core.storage import DatabaseStore
from tests import factories

DATA = bytes(range(256)) * 4
NAME = "adapter/adapter_model.safetensors"


@pytest.fixture
def client(shared: TestClient) -> TestClient:
    """The shared client."""
    return shared


@pytest.fixture
def path(shared_engine: Engine) -> str:
    """Where a file of 1024 bytes is."""
    made = factories.checkpoint(shared_engine, DatabaseStore(shared_engine), {NAME: DATA})
    return f"/v1/checkpoints/{made.id}/files/{NAME}"


def parts_of(answer: Any) -> list[tuple[str, bytes]]:
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = message_from_bytes(head + answer.content)
    parts: Any = message.get_payload()
    return [(part["content-range"], part.get_payload(decode=True)) for part in parts]


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=1000-", 1000, 1024),
        ("bytes=-24", 1000, 1024),
        ("bytes=-9999", 0, 1024),
        ("bytes=1000-9999", 1000, 1024),
        ("BYTES=1-2", 1, 3),
        ("bytes=2000-,5-9", 5, 10),
    ],
)
def test_a_range_is_exactly_the_slice(
    client: TestClient, path: str, asked: str, start: int, end: int
) -> None:
    answer = client.get(path, headers={"Range": asked})

    assert answer.status_code == 206
    assert answer.content == DATA[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/1024"
    assert answer.headers["content-length"] == str(end - start)


def test_several_ranges_come_as_parts_in_the_asked_order(client: TestClient, path: str) -> None:
    answer = client.get(path, headers={"Range": "bytes=500-599, 0-9,-1"})

    assert answer.status_code == 206
    assert len(answer.content) == int(answer.headers["content-length"])
    assert parts_of(answer) == [
        ("bytes 500-599/1024", DATA[500:600]),
        ("bytes 0-9/1024", DATA[:10]),
        ("bytes 1023-1023/1024", DATA[-1:]),
    ]


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=9-5",
        "bytes=a-b",
        "bytes=",
        "bytes=-",
        "bytes",
        "lines=0-1",
        "bytes=0-1;2-3",
        "bytes=" + ",".join(f"{n}-{n}" for n in range(17)),
        "bytes=0-1023,0-1023",
    ],
)
def test_a_range_that_makes_no_sense_or_costs_too_much_gets_the_whole_file(
    client: TestClient, path: str, asked: str
) -> None:
    answer = client.get(path, headers={"Range": asked})

    assert (answer.status_code, answer.content) == (200, DATA)


@pytest.mark.parametrize("asked", ["bytes=1024-", "bytes=5000-6000", "bytes=-0"])
def test_a_range_outside_of_the_file_is_refused_with_its_length(
    client: TestClient, path: str, asked: str
) -> None:
    answer = client.get(path, headers={"Range": asked})

    assert answer.status_code == 416
    assert answer.headers["content-range"] == "bytes */1024"
    assert answer.headers["content-type"] == "application/problem+json"


def test_if_range_takes_a_range_of_the_same_version_only(client: TestClient, path: str) -> None:
    etag = client.get(path).headers["etag"]

    def status(condition: str) -> int:
        return client.get(path, headers={"Range": "bytes=0-1", "If-Range": condition}).status_code

    assert status(etag) == 206
    assert status('"another"') == 200
    assert status(f"W/{etag}") == 200


ranges = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda r: f"{min(r)}-{max(r)}"),
        st.integers(0, 40).map(lambda first: f"{first}-"),
        st.integers(0, 40).map(lambda last: f"-{last}"),
    ),
    min_size=1,
    max_size=18,
)


def sliced(part: str, data: bytes) -> bytes:
    first, _, last = part.partition("-")
    if not first:
        return data[-int(last) :] if int(last) else b""
    return data[int(first) : int(last) + 1 if last else None]


@given(ranges, st.binary(max_size=32))
@settings(max_examples=300)
def test_ranges_are_the_slices_of_the_bytes_or_the_whole(parts: list[str], data: bytes) -> None:
    wanted = [piece for part in parts if (piece := sliced(part, data))]
    try:
        spans = read_ranges("bytes=" + ",".join(parts), len(data))
    except Unsatisfiable:
        assert wanted == []
        return
    if spans is None:
        assert len(parts) > 16 or sum(map(len, wanted)) > len(data)
    else:
        assert [data[span.start : span.end] for span in spans] == wanted
