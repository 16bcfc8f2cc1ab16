"""The rooms and who may import whom: every contract holds, and breaks on its own violation."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("app", "worker", "cyclealign")

PLANTED = {
    "app/services/eta.py": "import app.api.pages",
    "app/core/utils.py": "",
    "worker/cycle/seeds.py": "import worker.whitebox.draw",
    "worker/supervise.py": "import torch",
    "app/dispatcher.py": "import transformers",
    "worker/presence.py": "import app.services.jobs",
    "cyclealign/errors.py": "import app.core.settings",
    "worker/methods/held_out.py": "import torch",
    "worker/objectives/pro.py": "import transformers",
    "worker/whitebox/draw.py": "import pydantic",
    "worker/whitebox/native/rows.py": "import peft",
    "app/services/chance.py": "import fastapi",
    "worker/parts.py": "import app.core.models",
}
"""One violation a contract, in the order of the contracts; the second is a stray module."""


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    script = "from importlinter.cli import lint_imports_command as run; run()"
    return subprocess.run(
        [sys.executable, "-c", script, "--no-cache", "--config", str(folder / "pyproject.toml")],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"},
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "*.jsonl")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold(copy: Path) -> None:
    result = lint(copy)
    assert result.returncode == 0, result.stdout
    assert f"{len(PLANTED)} kept, 0 broken" in result.stdout


def test_every_contract_breaks_on_a_violation_of_it(copy: Path) -> None:
    for name, line in PLANTED.items():
        with (copy / name).open("a") as file:
            file.write(f"\n{line}\n")
    result = lint(copy)
    assert f"0 kept, {len(PLANTED)} broken" in result.stdout, result.stdout
    assert "app.core.utils" in result.stdout
    for name, line in PLANTED.items():
        if line:
            source = name.removesuffix(".py").replace("/", ".")
            assert f"{source} -> {line.removeprefix('import ')}" in result.stdout


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("app.main", {"torch", "transformers", "peft"}),
        ("app.standalone", {"torch", "numpy", "transformers", "peft"}),
        ("app.dispatcher", {"torch", "numpy", "transformers", "peft"}),
        ("worker.main", {"torch", "numpy", "transformers", "peft"}),
        ("worker.supervise", {"torch", "numpy", "transformers", "peft"}),
    ],
)
def test_a_process_without_a_model_loads_no_tensors(module: str, heavy: set[str]) -> None:
    script = (
        f"import sys, {module};"
        f"heavy = {heavy} & set(sys.modules);"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 0, result.stderr
