"""Downloading checkpoints: whole, in ranges, as an archive."""

import base64
import hashlib
import io
import tarfile

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.core.models import Checkpoint, Job
from app.core.storage import DatabaseStore, Store
from tests import factories

DATA = bytes(range(256)) * 4
WEIGHTS = "adapter/adapter_model.safetensors"
FILES = {
    WEIGHTS: DATA,
    "adapter/adapter_config.json": b"{}",
    "merged/model.safetensors": b"m" * 513,
    "training_state/method.json": b"[]",
    "README.md": b"# card",
}


@pytest.fixture
def store(engine: Engine) -> Store:
    """The store that the service reads from."""
    return DatabaseStore(engine)


@pytest.fixture
def checkpoint(engine: Engine, store: Store) -> Checkpoint:
    """A checkpoint with files of every role."""
    return factories.checkpoint(engine, store, FILES)


@pytest.fixture
def path(checkpoint: Checkpoint) -> str:
    """Where its weights are."""
    return f"/v1/checkpoints/{checkpoint.id}/files/{WEIGHTS}"


def test_a_checkpoint_is_shown_with_its_manifest(
    client: TestClient, checkpoint: Checkpoint
) -> None:
    shown = client.get(f"/v1/checkpoints/{checkpoint.id}").json()

    assert (shown["id"], shown["object"], shown["state"]) == (checkpoint.id, "checkpoint", "ready")
    assert {file["name"]: file["bytes"] for file in shown["manifest"]["files"]} == {
        name: len(data) for name, data in FILES.items()
    }


def test_a_file_comes_whole_with_what_identifies_it(client: TestClient, path: str) -> None:
    answer = client.get(path)

    digest = hashlib.sha256(DATA)
    assert answer.content == DATA
    assert answer.headers["etag"] == f'"sha256:{digest.hexdigest()}"'
    assert answer.headers["repr-digest"] == (
        f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    )
    assert answer.headers["content-length"] == "1024"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert "adapter_model.safetensors" in answer.headers["content-disposition"]


def test_head_gives_the_headers_alone(client: TestClient, path: str) -> None:
    whole, head = client.get(path), client.head(path, headers={"Range": "bytes=0-1"})

    assert head.status_code == 200
    assert head.content == b""
    for name in ("content-length", "etag", "content-type", "repr-digest"):
        assert head.headers[name] == whole.headers[name]


def test_every_file_of_the_manifest_can_be_downloaded(
    client: TestClient, checkpoint: Checkpoint
) -> None:
    for name, data in FILES.items():
        assert client.get(f"/v1/checkpoints/{checkpoint.id}/files/{name}").content == data


@pytest.mark.parametrize("condition", ["{}", "W/{}", '"x", {}', "*"])
def test_a_copy_that_the_caller_has_is_not_sent_again(
    client: TestClient, path: str, condition: str
) -> None:
    etag = client.get(path).headers["etag"]

    answer = client.get(path, headers={"If-None-Match": condition.format(etag)})

    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == etag


@pytest.mark.parametrize(
    "name", ["manifest.json", "adapter", "adapter/", "readme.md", "%2e%2e/x", "a%00", ""]
)
def test_a_name_that_the_manifest_does_not_hold_is_not_found(
    client: TestClient, checkpoint: Checkpoint, name: str
) -> None:
    answer = client.get(f"http://testserver/v1/checkpoints/{checkpoint.id}/files/{name}")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_checkpoint_of_another_workspace_is_not_found(
    client: TestClient, engine: Engine, store: Store
) -> None:
    theirs = factories.checkpoint(engine, store, FILES, workspace_id="ws_other")

    for rest in ("", f"/files/{WEIGHTS}", "/archive"):
        assert client.get(f"/v1/checkpoints/{theirs.id}{rest}").status_code == 404


def test_a_corrupt_checkpoint_is_shown_and_not_sent(
    client: TestClient, engine: Engine, store: Store
) -> None:
    broken = factories.checkpoint(engine, store, FILES, state="corrupt")

    assert client.get(f"/v1/checkpoints/{broken.id}").json()["state"] == "corrupt"
    for rest in (f"/files/{WEIGHTS}", "/archive"):
        answer = client.get(f"/v1/checkpoints/{broken.id}{rest}")
        assert (answer.status_code, answer.json()["code"]) == (410, "checkpoint_corrupt")


@pytest.mark.parametrize("rest", [f"/files/{WEIGHTS}", "/archive"])
def test_bytes_that_changed_in_the_store_are_never_given_out_whole(
    client: TestClient, engine: Engine, store: Store, job: Job, rest: str
) -> None:
    changed = factories.checkpoint(engine, store, FILES, job_id=job.id)
    store.write(f"{changed.id}/{WEIGHTS}", [b"!" + DATA[1:]])

    answer = client.get(f"/v1/checkpoints/{changed.id}{rest}")

    assert len(answer.content) < int(answer.headers["content-length"])
    assert DATA[1:] not in answer.content
    assert client.get(f"/v1/checkpoints/{changed.id}").json()["state"] == "corrupt"
    again = client.get(f"/v1/checkpoints/{changed.id}{rest}")
    assert (again.status_code, again.json()["code"]) == (410, "checkpoint_corrupt")
    [event] = client.get(f"/v1/jobs/{job.id}/events").json()["data"]
    assert (event["type"], event["data"]["checkpoint_id"]) == ("checkpoint_corrupt", changed.id)


@pytest.mark.parametrize("data", [DATA[:-1], b""])
def test_a_file_that_is_cut_short_is_unavailable(
    client: TestClient, checkpoint: Checkpoint, store: Store, path: str, data: bytes
) -> None:
    store.write(f"{checkpoint.id}/{WEIGHTS}", [data])

    answer = client.get(path)

    assert (answer.status_code, answer.json()["code"]) == (503, "artifact_unavailable")


def test_a_file_whose_bytes_are_lost_is_unavailable_before_the_first_byte(
    client: TestClient, checkpoint: Checkpoint, store: Store, path: str
) -> None:
    store.delete(f"{checkpoint.id}/{WEIGHTS}")

    answer = client.get(path)

    assert (answer.status_code, answer.json()["code"]) == (503, "artifact_unavailable")


def archive(client: TestClient, checkpoint: Checkpoint, query: str = "") -> dict[str, bytes]:
    answer = client.get(f"/v1/checkpoints/{checkpoint.id}/archive{query}")
    assert answer.status_code == 200, answer.text
    assert len(answer.content) == int(answer.headers["content-length"])
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        members = {member.name: tar.extractfile(member) for member in tar}
        return {
            name.removeprefix(f"{checkpoint.id}/"): file.read()
            for name, file in members.items()
            if file
        }


def test_an_archive_holds_weights_card_and_manifest_byte_for_byte(
    client: TestClient, checkpoint: Checkpoint
) -> None:
    found = archive(client, checkpoint)

    assert found.keys() == (FILES.keys() - {"training_state/method.json"}) | {"manifest.json"}
    listed = {file["name"]: file["sha256"] for file in checkpoint.manifest["files"]}
    for name in found.keys() - {"manifest.json"}:
        assert hashlib.sha256(found[name]).hexdigest() == listed[name]


@pytest.mark.parametrize(
    ("query", "tops"),
    [
        ("?form=adapter", {"adapter", "README.md", "manifest.json"}),
        ("?form=merged", {"merged", "README.md", "manifest.json"}),
        ("?role=training_state", {"training_state", "README.md", "manifest.json"}),
    ],
)
def test_an_archive_can_be_asked_for_in_one_form_or_of_one_role(
    client: TestClient, checkpoint: Checkpoint, query: str, tops: set[str]
) -> None:
    found = archive(client, checkpoint, query)

    assert {name.split("/")[0] for name in found} == tops


def test_an_archive_in_a_form_that_was_not_written_is_not_found(
    client: TestClient, engine: Engine, store: Store
) -> None:
    small = factories.checkpoint(engine, store, {WEIGHTS: DATA})

    assert client.get(f"/v1/checkpoints/{small.id}/archive?form=merged").status_code == 404


@pytest.mark.parametrize("query", ["?form=gguf", "?role=secrets", "?rol=weights"])
def test_an_archive_of_what_there_is_not_is_refused(
    client: TestClient, checkpoint: Checkpoint, query: str
) -> None:
    assert client.get(f"/v1/checkpoints/{checkpoint.id}/archive{query}").status_code == 422
