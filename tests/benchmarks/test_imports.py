"""The benchmarks measure the worker's rooms and know nothing of the service around them."""

import ast
from collections.abc import Iterator
from pathlib import Path

SERVICE = {"app", "cyclealign", "pydantic", "sqlalchemy", "fastapi", "celery"}
FOLDER = Path(__file__).parents[2] / "benchmarks"


def imported(file: Path) -> Iterator[str]:
    """Packages that a module imports, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_no_benchmark_imports_the_service() -> None:
    found = {file.name: SERVICE & set(imported(file)) for file in FOLDER.rglob("*.py")}
    assert len(found) > 10
    assert {name: packages for name, packages in found.items() if packages} == {}
