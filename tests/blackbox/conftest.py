from collections.abc import Iterator

import pytest

from tests.judge_server import JudgeServer, running_judge


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    with running_judge() as server:
        yield server
