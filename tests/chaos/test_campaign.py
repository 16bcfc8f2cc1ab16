"""A brief campaign in every run of the tests, and one that must find something."""

import re
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]


def chaos(**options: object) -> tuple[int, str]:
    """Run the command; return its exit code and what it says."""
    given = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "tests.chaos", *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr[-2000:]


def test_no_job_is_lost_and_no_answer_paid_twice_whatever_dies() -> None:
    code, said = chaos(jobs=3, kills=8, stops=1, databases=1, wipes=1, seed=20)
    assert code == 0, said
    assert '"kill runner"' in said
    assert '"kill worker"' in said


def test_without_the_fence_the_same_check_finds_stale_commits() -> None:
    """A supervisor is held until its job is another's; its runner goes on writing."""
    faults = {"kills": 0, "stops": 1, "databases": 0, "wipes": 0, "hold": 10}
    code, said = chaos(jobs=1, **faults, victims="supervisor", limit=120, ablate="fence")
    assert code == 1, said
    assert re.search(r"stale commits +[1-9].*BROKEN", said), said


def test_without_the_tie_runners_outlive_their_supervisors() -> None:
    faults = {"kills": 1, "stops": 0, "databases": 0, "wipes": 0}
    code, said = chaos(jobs=1, **faults, victims="supervisor", limit=120, ablate="ties")
    assert code == 1, said
    assert re.search(r"orphaned runners +[1-9].*BROKEN", said), said
