"""The client against a loopback server that can break off, lie and refuse."""

import socket
from pathlib import Path

import pytest

from cyclealign.client import Client
from cyclealign.errors import ApiError, Corrupt, Unreachable
from tests.client.server import CHECKPOINT, Content, serving

WEIGHTS = bytes(range(256)) * 4000
FILES = {"merged/model.safetensors": WEIGHTS, "README.md": b"# a card\n"}


def test_a_list_is_read_to_its_end_page_by_page() -> None:
    with serving(Content({})) as server, Client(server.url) as client:
        rows = list(client.rankings("job_1", stage="align"))
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    assert all(row["stage"] == ["align"] for row in rows)


def test_a_problem_becomes_an_error_that_names_every_fault() -> None:
    with (
        serving(Content({})) as server,
        Client(server.url) as client,
        pytest.raises(ApiError) as caught,
    ):
        client.job("forbidden")
    error = caught.value
    assert (error.status, error.code, error.request_id) == (422, "invalid", "req_9")
    assert [fault["code"] for fault in error.errors] == ["too_large", "empty_prompt"]
    assert str(error).splitlines() == [
        "Two things are wrong. (422 invalid)",
        "  /optimizer/lr: At most 1.",
        "  line 7: The prompt is empty.",
        "  request req_9",
    ]


def test_an_error_page_of_a_proxy_is_an_error_as_well() -> None:
    with (
        serving(Content({})) as server,
        Client(server.url) as client,
        pytest.raises(ApiError, match=r"502 unknown"),
    ):
        client.job("broken")


def test_an_answer_of_another_service_is_recognised() -> None:
    with (
        serving(Content({})) as server,
        Client(server.url) as client,
        pytest.raises(Unreachable, match="does not speak"),
    ):
        client.job("stray")


def test_a_port_without_a_service_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with Client(url) as client, pytest.raises(Unreachable, match="does not answer"):
            client.job("job_1")


def test_what_gets_no_answer_is_submitted_again_under_its_key() -> None:
    with serving(Content({}, lose_answers=2)) as server, Client(server.url) as client:
        client.create_job({"seed": 1})
        client.clone_job("job_1")
        client.create_job({"seed": 2}, key="mine")
    assert [path for path, _ in server.posted] == 3 * ["/v1/jobs"] + [
        "/v1/jobs/job_1/clone",
        "/v1/jobs",
    ]
    first, *_ = server.keys
    assert server.keys[:3] == [first] * 3
    assert first not in server.keys[3:]
    assert server.keys[4] == "mine"


def test_watching_ends_with_the_job() -> None:
    content = Content({}, job_states=["queued", "running", "running", "failed"])
    with serving(content) as server, Client(server.url) as client:
        seen = [job["status"] for job in client.watch("job_1", every=0.01)]
    assert seen == ["queued", "running", "running", "failed"]


def test_a_checkpoint_is_downloaded_without_the_state_of_training(tmp_path: Path) -> None:
    content = Content(
        FILES | {"training_state/state.json": b"{}"},
        roles={"training_state/state.json": "training_state"},
    )
    with serving(content) as server, Client(server.url) as client:
        paths = client.download_files(CHECKPOINT, tmp_path)
    assert {str(path.relative_to(tmp_path)): path.read_bytes() for path in paths} == FILES
    assert not (tmp_path / "training_state").exists()


def test_a_broken_download_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    content = Content(FILES, break_after=[500_000, 100_000])
    with serving(content) as server, Client(server.url) as client:
        client.download_files(CHECKPOINT, tmp_path)
    assert (tmp_path / "merged/model.safetensors").read_bytes() == WEIGHTS
    first, *rest, card = content.ranges
    assert first is None
    assert card is None
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in rest if asked]
    assert len(starts) == 2
    assert 0 < starts[0] <= 500_000
    assert starts[0] < starts[1] <= 600_000


def test_a_server_that_ignores_ranges_is_read_from_the_start(tmp_path: Path) -> None:
    content = Content(FILES, ignores_ranges=True)
    place = tmp_path / "merged/model.safetensors.part"
    place.parent.mkdir()
    place.write_bytes(b"half of something")
    with serving(content) as server, Client(server.url) as client:
        client.download_files(CHECKPOINT, tmp_path)
    assert (tmp_path / "merged/model.safetensors").read_bytes() == WEIGHTS


def test_a_part_that_is_longer_than_the_file_is_thrown_away(tmp_path: Path) -> None:
    place = tmp_path / "README.md.part"
    place.write_bytes(b"x" * 100)
    with serving(Content(FILES)) as server, Client(server.url) as client:
        client.download_files(CHECKPOINT, tmp_path)
    assert (tmp_path / "README.md").read_bytes() == FILES["README.md"]


def test_what_is_there_already_is_not_fetched_again(tmp_path: Path) -> None:
    with serving(Content(FILES)) as server, Client(server.url) as client:
        client.download_files(CHECKPOINT, tmp_path)
        server.ranges.clear()
        client.download_files(CHECKPOINT, tmp_path)
    assert server.ranges == []


def test_wrong_bytes_never_get_the_name_of_a_file(tmp_path: Path) -> None:
    content = Content(FILES, swapped={"merged/model.safetensors": WEIGHTS[:-1] + b"!"})
    with (
        serving(content) as server,
        Client(server.url) as client,
        pytest.raises(Corrupt, match="its manifest says"),
    ):
        client.download_files(CHECKPOINT, tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "a/../../outside"])
def test_a_manifest_cannot_write_outside_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    with (
        serving(Content({name: b"x"})) as server,
        Client(server.url) as client,
        pytest.raises(Corrupt, match="no place inside"),
    ):
        client.download_files(CHECKPOINT, folder)
    assert list(tmp_path.rglob("outside")) == []


def test_an_archive_is_verified_file_by_file(tmp_path: Path) -> None:
    with serving(Content(FILES)) as server, Client(server.url) as client:
        path = client.download_archive(CHECKPOINT, tmp_path / "new" / "checkpoint.tar")
    assert path.stat().st_size > len(WEIGHTS)


def test_an_archive_with_wrong_bytes_is_refused(tmp_path: Path) -> None:
    content = Content(FILES, swapped={"README.md": b"# other\n"})
    with (
        serving(content) as server,
        Client(server.url) as client,
        pytest.raises(Corrupt, match=r"README\.md"),
    ):
        client.download_archive(CHECKPOINT, tmp_path / "checkpoint.tar")
    assert not (tmp_path / "checkpoint.tar").exists()
