"""One tiny model and one running stack for all tests that need the whole of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.judge_server import JudgeServer, running_judge
from tests.stack.running import Stack, running, write_catalogue
from tests.tiny import tiny_model_folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny chat model."""
    return tiny_model_folder(tmp_path_factory.mktemp("tiny"), chat_template=True)


@pytest.fixture(scope="session")
def judge_server() -> Iterator[JudgeServer]:
    """An OpenAI-compatible judge on loopback."""
    with running_judge() as server:
        yield server


@pytest.fixture(scope="session")
def stack(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, judge_server: JudgeServer
) -> Iterator[Stack]:
    """The stack over its own embedded PostgreSQL."""
    folder = tmp_path_factory.mktemp("stack")
    catalogue = write_catalogue(folder, tiny_model, judge_server.url)
    with running(folder, catalogue, {}) as up:
        yield up
