"""`kill -9` in the middle of saves: what users see is whole, and what is left is swept away."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def killed(database_url: str, kills: int, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.chaos.saves", "--kills", str(kills)]
    done = subprocess.run(
        [*command, "--database-url", database_url, *options],
        cwd=ROOT,
        env=os.environ | {"LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == int(bool(found["broken"] or found["corrupt"] or found["left"]))
    return found


@pytest.mark.parametrize(("store", "kills"), [("file", 20), ("database", 10)])
def test_no_kill_leaves_a_visible_checkpoint_that_is_not_whole(
    database_url: str, store: str, kills: int
) -> None:
    found = killed(database_url, kills, "--store", store)
    assert found["killed_in_a_save"] >= 3
    assert found["rounds"] >= 3
    assert (found["broken"], found["corrupt"]) == (0, 0)
    assert found["swept"] >= found["killed_in_a_save"]
    assert found["left"] == 0


def test_a_store_that_answers_before_it_has_written_is_found_out(database_url: str) -> None:
    found = killed(database_url, 4, "--hasty")
    assert found["broken"] > 0
    assert found["corrupt"] > 0
