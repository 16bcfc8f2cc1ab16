"""A few deploys, cancels and jobs in a row; the commands of this folder do it many times."""

import random
from collections.abc import Iterator

import pytest

from tests.chaos import cancel, drain, soak
from tests.chaos.deployment import Deployment, deployed
from tests.chaos.promises import broken

pytestmark = [
    pytest.mark.stack,
    pytest.mark.timeout(600),
    # kombu's transport over SQLAlchemy uses what SQLAlchemy will drop
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One service for all."""
    with deployed(tmp_path_factory.mktemp("deployed")) as up:
        yield up


def test_deploys_cost_neither_work_nor_money(deployment: Deployment) -> None:
    found = drain.drain_often(deployment, 1, random.Random(11))
    assert len(found.drains) == 1
    assert broken(drain.promises(found)) == []


def test_cancelled_jobs_leave_nothing_running(deployment: Deployment) -> None:
    found = cancel.cancel_often(deployment, 2, random.Random(1))
    assert found.running
    assert broken(cancel.promises(found)) == []


def test_jobs_in_a_row_leave_the_worker_as_it_was(deployment: Deployment) -> None:
    found = soak.soak(deployment, 2)
    assert broken(soak.promises(found, warm=1)) == []
