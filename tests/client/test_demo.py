"""The demo as a program, on a tiny model under the real one's name."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.tiny import tiny_model_folder

pytestmark = pytest.mark.stack


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    model = tiny_model_folder(tmp_path / "model", chat_template=True)
    path = tmp_path / "catalogue.toml"
    path.write_text(
        '[models."smollm2-135m-instruct"]\n'
        f'source = {{ type = "folder", path = "{model}" }}\n'
        '[judges.rubric]\ntype = "rubric"\n'
    )
    return path


def _start(catalogue: Path, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from cyclealign.cli import main; main()", "demo"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ
        | {"CATALOGUE": str(catalogue), "DATA_DIR": str(folder), "THREADS": "1", "COLUMNS": "100"},
    )


def _left_running(folder: Path) -> list[str]:
    commands = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
    return [" ".join(command) for command in commands if any(str(folder) in c for c in command)]


def test_an_interrupted_demo_goes_on_to_its_end_and_leaves_nothing_running(
    tmp_path: Path, catalogue: Path
) -> None:
    folder = tmp_path / "data"

    with _start(catalogue, folder) as first:
        assert first.stdout
        said = [next(first.stdout)]
        while not said[-1].startswith("aligning"):
            said.append(next(first.stdout))
        first.send_signal(signal.SIGINT)
        rest = first.stdout.read()
    assert first.returncode == 130
    assert rest.count("Stopping. The job is kept") == 1
    assert "Traceback" not in rest
    assert _left_running(folder) == []
    job = next(line.split()[1].rstrip(":") for line in said if line.startswith("Submitted"))

    with _start(catalogue, folder) as second:
        assert second.stdout
        shown = second.stdout.read()
    assert second.returncode == 0
    assert f"Going on with {job}" in shown
    for part in ("mean score before", "mean score after", "The held-out score", "before (score"):
        assert part in shown
    assert list((folder / "demo").glob("ckpt_*/merged/model.safetensors"))
    assert list((folder / "demo").glob("ckpt_*/adapter/adapter_model.safetensors"))
    assert _left_running(folder) == []
