from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.judge_server import JudgeServer, running_judge
from tests.judging.asking import new_book
from worker.ledger.book import Book


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with running_judge() as running:
        yield running


@pytest.fixture
def book(engine: Engine) -> Book:
    return new_book(engine)
