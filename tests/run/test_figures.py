"""The live figures of a run, on real PostgreSQL, with a tiny model and the rubric."""

import math
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select

from app.core.db import transaction
from app.core.lease import Lease
from app.core.models import Metric
from app.services.metrics import MEANING
from tests import factories
from tests.run.conftest import job_of
from worker.ending import DONE
from worker.ledger.book import Book

FIGURES = {
    "speed/samples",
    "speed/generated_tokens",
    "speed/trained_tokens",
    "speed/efficiency",
    "time/sampling",
    "time/judging",
    "time/learning",
    "time/idle",
    "lanes/busy",
    "memory/peak",
}
SHARES = [name for name in FIGURES if name.startswith("time/")]


def rounds(engine: Engine, job_id: str) -> dict[int, dict[str, float | None]]:
    """The live figures of each round."""
    found: dict[int, dict[str, float | None]] = {}
    with transaction(engine) as session:
        query = select(Metric).where(Metric.job_id == job_id, Metric.name.in_(FIGURES))
        for metric in session.scalars(query):
            found.setdefault(metric.round, {})[metric.name] = metric.value
    return found


@pytest.mark.parametrize("lanes", [1, 3])
def test_every_round_of_a_run_has_all_its_figures(
    lanes: int, engine: Engine, submit: Callable[..., str], run_here: Callable[..., int]
) -> None:
    job_id = submit(method={"concurrency": lanes})
    assert run_here() == DONE
    found = rounds(engine, job_id)
    assert found
    for figures in found.values():
        assert set(figures) == FIGURES
        values = {name: value for name, value in figures.items() if value is not None}
        assert set(values) == FIGURES
        assert all(math.isfinite(value) and value >= 0 for value in values.values())
        assert sum(values[name] for name in SHARES) == pytest.approx(1)
        assert values["time/sampling"] > 0
        assert values["speed/efficiency"] > 0
    assert found[1]["lanes/busy"] == lanes


def test_scoring_held_out_prompts_at_the_end_displaces_no_figure(
    engine: Engine, submit: Callable[..., str], run_here: Callable[..., int]
) -> None:
    dataset = factories.dataset(engine).id
    job_id = submit(held_out={"dataset": dataset}, method={"concurrency": 3})
    assert run_here() == DONE
    found = rounds(engine, job_id)
    assert found[0]["speed/trained_tokens"] == 0
    assert found[max(found)]["speed/trained_tokens"] != 0
    assert max(found) < job_of(engine, job_id).round


def test_nothing_is_stored_for_a_round_without_figures(
    engine: Engine, submit: Callable[..., str], take: Callable[[], Lease]
) -> None:
    job_id = submit()
    book = Book(engine, take())
    book.measure(1, {})
    assert rounds(engine, job_id) == {}
    book.measure(1, {"lanes/busy": 2, "speed/efficiency": math.inf})
    book.measure(2, {"lanes/busy": 9})
    assert rounds(engine, job_id) == {1: {"lanes/busy": 2, "speed/efficiency": None}}


def test_every_figure_has_a_unit() -> None:
    assert set(MEANING) >= FIGURES
