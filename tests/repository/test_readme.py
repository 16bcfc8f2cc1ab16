"""What the README says is so: its commands exist, its tree is the tree, its session runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack.running import running
from tests.tiny import tiny_model_folder

ROOT = Path(__file__).parents[2]
PAPERS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
README = PAPERS[0].read_text("utf-8")
CODE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
SESSION = re.compile(r"<!-- session -->\n```bash\n(.*?)```", re.DOTALL)
TREE = re.compile(r"^( *)([\w.]+)/ +\S", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def _commands(text: str) -> str:
    return "\n".join(body for kind, body in CODE.findall(text) if kind == "bash")


def test_every_make_target_that_the_papers_name_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for paper in PAPERS:
        text = paper.read_text("utf-8")
        named = set(re.findall(r"^make ([a-z]+)", _commands(text), re.MULTILINE))
        named |= set(re.findall(r"`make ([a-z]+)`", text))
        assert named <= targets, paper


def test_every_cyclealign_command_that_the_papers_name_exists() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", "from cyclealign.cli import main; main()", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for paper in PAPERS:
        text = paper.read_text("utf-8")
        for name in re.findall(r"(?:`|bin/)cyclealign ([a-z]+)", text):
            assert f" {name} " in shown, (paper, name)


def _tree() -> list[str]:
    drawn = next(body for _, body in CODE.findall(README) if body.startswith("app/"))
    paths: list[str] = []
    parents: list[str] = []
    for indent, name in TREE.findall(drawn):
        parents = [*parents[: len(indent) // 2], name]
        paths.append("/".join(parents))
    return paths


def test_the_tree_names_folders_that_exist() -> None:
    paths = _tree()
    assert {"app", "app/core", "worker/cycle"} <= set(paths)
    assert [path for path in paths if not (ROOT / path).is_dir()] == []


def test_the_tree_leaves_no_room_out() -> None:
    rooms = {
        path.parent.relative_to(ROOT).as_posix()
        for top in ("app", "worker", "cyclealign")
        for path in ROOT.glob(f"{top}/*/__init__.py")
    }
    assert rooms <= set(_tree())


def test_links_of_the_papers_lead_somewhere() -> None:
    for paper in PAPERS:
        for link in LINK.findall(paper.read_text("utf-8")):
            assert (paper.parent / link).exists(), (paper, link)


def test_every_variable_of_the_readme_is_a_setting() -> None:
    settings = (ROOT / "app/core/settings.py").read_text("utf-8")
    table = README.split("## Configuration")[1].split("##")[0]
    names = [
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`([A-Z_]+)`", row)
    ]
    assert "DATABASE_URL" in names
    assert [name for name in names if f"    {name.lower()}:" not in settings] == []


@pytest.mark.stack
@pytest.mark.skipif(not shutil.which("curl"), reason="the session needs curl")
def test_the_session_runs_as_it_stands(tmp_path: Path) -> None:
    model = tiny_model_folder(tmp_path / "model", chat_template=True)
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text(
        '[models."smollm2-135m-instruct"]\n'
        f'source = {{ type = "folder", path = "{model}" }}\n'
        '[judges.rubric]\ntype = "rubric"\n'
    )
    work = tmp_path / "work"
    work.mkdir()
    given = {"FILE": str(ROOT / "cyclealign/demo/prompts.jsonl")}
    with running(tmp_path / "stack", catalogue, {}) as stack:
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(SESSION.findall(README))],
            cwd=work,
            env=os.environ | given | {"URL": stack.url},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert "succeeded" in lines
    assert "verified" in lines
    assert re.fullmatch("[0-9a-f]{64}", lines[-1])
    assert lines[-1] == lines[-2]
    assert '"black_box":' in ended.stdout
    assert '"agreement":' in ended.stdout
