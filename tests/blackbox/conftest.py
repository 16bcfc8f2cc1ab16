from collections.abc import Iterator

import pytest

from tests.blackbox.asker import Asker, asking
from tests.judge_server import JudgeServer, running_judge


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    with running_judge() as server:
        yield server


@pytest.fixture
def asker(judge: JudgeServer) -> Iterator[Asker]:
    with asking(judge) as asker:
        yield asker
