"""The command line as a program: how fast it is, what it loads, how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.server import CHECKPOINT, Content, serving

HEAVY = ("torch", "transformers", "httpx2", "app", "worker", "sqlalchemy", "fastapi", "celery")


def _run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from cyclealign.cli import main; main()", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_names_every_command() -> None:
    shown = _run("--help")
    assert shown.returncode == 0
    commands = (
        "up",
        "demo",
        "upload",
        "submit",
        "clone",
        "evaluate",
        "experiment",
        "report",
        "status",
    )
    for command in (*commands, "cancel", "pause", "resume", "retry", "rankings", "download"):
        assert f" {command} " in shown.stdout


def test_help_loads_no_tensors_no_service_and_no_http() -> None:
    code = (
        "import sys\nimport cyclealign.cli as cli\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, "--help"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert shown.stderr.strip() == "[]"


def test_the_client_loads_no_service_and_no_tensors() -> None:
    heavy = [name for name in HEAVY if name != "httpx2"]
    code = (
        "import sys, cyclealign.client, cyclealign.demo.demo\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout.strip() == "[]"


def test_a_service_that_is_not_there_is_said_in_one_line() -> None:
    ended = _run("status", "job_1", "--url", "http://127.0.0.1:9")
    assert ended.returncode == 3
    assert "does not answer" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_refusal_is_said_with_every_fault() -> None:
    with serving(Content({})) as server:
        ended = _run("status", "forbidden", "--url", server.url)
    assert ended.returncode == 3
    assert "/optimizer/lr: At most 1." in ended.stderr


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_spec_that_is_no_json_object_is_a_wrong_use(text: str) -> None:
    ended = _run("submit", "-", stdin=text)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


def test_a_spec_that_is_not_there_is_a_wrong_use(tmp_path: Path) -> None:
    assert _run("submit", str(tmp_path / "nothing.json")).returncode == 2


def test_a_clone_is_asked_for_with_new_values_and_a_start() -> None:
    with serving(Content({})) as server:
        ended = _run(
            *("clone", "job_1", "--set", "/seed=2", "--set", "/judge/name=rubric"),
            *("--from", CHECKPOINT, "--url", server.url),
        )
        _run("clone", "job_1", "--url", server.url)
    assert ended.stdout.split() == ["job_2"]
    overrides = {"seed": 2, "judge": {"name": "rubric"}}
    assert server.posted == [
        ("/v1/jobs/job_1/clone", {"overrides": overrides, "from": {"checkpoint": CHECKPOINT}}),
        ("/v1/jobs/job_1/clone", {"overrides": {}}),
    ]


def test_a_new_value_that_cannot_be_read_is_said_before_anything_is_asked() -> None:
    ended = _run("clone", "job_1", "--set", "seed=2", "--url", "http://127.0.0.1:9")
    assert ended.returncode == 3
    assert "such as /optimizer/lr=1e-4" in ended.stderr


def test_rankings_are_json_lines() -> None:
    with serving(Content({})) as server:
        ended = _run("rankings", "job_1", "--url", server.url)
    assert [json.loads(line)["step"] for line in ended.stdout.splitlines()] == [0, 1, 2, 3, 4]


def test_download_names_the_files_that_it_verified(tmp_path: Path) -> None:
    with serving(Content({"README.md": b"# a card\n"})) as server:
        ended = _run("download", CHECKPOINT, str(tmp_path), "--url", server.url)
    assert ended.returncode == 0
    assert ended.stdout.split() == [str(tmp_path / "README.md")]


def test_a_corrupt_download_fails(tmp_path: Path) -> None:
    content = Content({"README.md": b"# a card\n"}, swapped={"README.md": b"# other\n"})
    with serving(content) as server:
        ended = _run("download", CHECKPOINT, str(tmp_path), "--url", server.url)
    assert ended.returncode == 3
    assert "manifest" in ended.stderr
