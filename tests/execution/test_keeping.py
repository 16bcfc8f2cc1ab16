"""The last few checkpoints of a job and its best one stay; corrupt ones are replaced."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from app.core.checkpoints import best_of, mark_corrupt
from app.core.db import transaction
from app.core.models import Checkpoint, Metric
from app.core.storage import DatabaseStore
from tests.execution.leasing import claimed
from tests.execution.rows import add_job, read_events
from worker.cycle.events import RoundEnded
from worker.ledger.book import Book
from worker.ledger.checkpoints import Shelf

SHARE = "agreement/share"


class Run:
    """A job that is run: rounds measure something, and checkpoints are taken of some of them."""

    def __init__(self, engine: Engine, folder: Path, keep: int) -> None:
        self.engine, self.folder = engine, folder
        self.job_id = add_job(engine)
        self.book = Book(engine, claimed(engine))
        self.store = DatabaseStore(engine)
        self.shelf = Shelf(self.book, self.store, keep)

    def round(self, round_: int, **measured: float) -> None:
        self.book.record(RoundEnded(round_, round_, {}, done=False))
        with transaction(self.engine) as session:
            session.add_all(
                Metric(job_id=self.job_id, name=name.replace("_", "/"), update=round_,
                       round=round_, value=value)
                for name, value in measured.items()
            )  # fmt: skip

    def keep(self, round_: int) -> str:
        (self.folder / "README.md").write_text(f"round {round_}")
        self.shelf.put(self.folder, RoundEnded(round_, round_, {}, done=False), {})
        return self.rows()[-1].id

    def rows(self) -> list[Checkpoint]:
        with transaction(self.engine) as session:
            query = select(Checkpoint).where(Checkpoint.job_id == self.job_id)
            return list(session.scalars(query.order_by(Checkpoint.round)))

    def kept(self) -> dict[int, bool]:
        """Round to whether it is the best."""
        return {row.round: row.best for row in self.rows()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def test_the_best_stays_beside_the_last_ones_until_a_better_one_comes(
    engine: Engine, folder: Path
) -> None:
    run = Run(engine, folder, keep=1)
    seen = []
    for round_, share in enumerate((0.2, 0.9, 0.4, 0.5, 0.95), start=1):
        run.round(round_, agreement_share=share)
        run.keep(round_)
        seen.append(run.kept())
    assert seen == [
        {1: True},
        {2: True},
        {2: True, 3: False},
        {2: True, 4: False},
        {5: True},
    ]
    assert set(run.store.folders()) == {row.id for row in run.rows()}


def test_a_score_is_the_mean_over_the_rounds_since_the_checkpoint_before(
    engine: Engine, folder: Path
) -> None:
    run = Run(engine, folder, keep=5)
    for round_, share in enumerate((0.25, 0.75, 0.5, 1.0, 0.0), start=1):
        run.round(round_, agreement_share=share)
        if round_ in {2, 5}:
            run.keep(round_)
    assert [row.metrics["score"] for row in run.rows()] == [
        {"name": SHARE, "mean": 0.5, "n": 2},
        {"name": SHARE, "mean": 0.5, "n": 3},
    ]
    assert run.kept() == {2: False, 5: True}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_a_score_does_not_depend_on_the_order_in_which_rows_lie(
    engine: Engine, folder: Path, order: tuple[int, ...]
) -> None:
    shares = (0.1, 0.2, 0.3)
    run = Run(engine, folder, keep=1)
    for place in order:
        run.round(place, agreement_share=shares[place])
    run.keep(max(order))
    (row,) = run.rows()
    assert row.metrics["score"]["mean"] == 0.6 / 3


def test_a_judges_scores_tell_more_than_agreement_and_a_loss_is_better_lower(
    engine: Engine, folder: Path
) -> None:
    run = Run(engine, folder, keep=3)
    run.round(1, agreement_share=0.9, judge_score=0.3, loss_total=0.1)
    run.keep(1)
    run.round(2, agreement_share=0.1, judge_score=0.4, loss_total=2.0)
    run.keep(2)
    assert run.kept() == {1: False, 2: True}
    taught = Run(engine, folder, keep=3)
    taught.round(1, loss_total=0.5)
    taught.keep(1)
    taught.round(2, loss_total=0.7)
    taught.keep(2)
    assert taught.kept() == {1: True, 2: False}


def test_where_nothing_was_measured_none_is_best(engine: Engine, folder: Path) -> None:
    run = Run(engine, folder, keep=1)
    run.keep(1)
    run.keep(2)
    assert run.kept() == {2: False}
    assert run.rows()[0].metrics["score"] is None


def test_scores_of_different_kinds_are_not_compared() -> None:
    def row(round_: int, name: str, mean: float) -> Checkpoint:
        metrics: dict[str, Any] = {"score": {"name": name, "mean": mean, "n": 1}}
        return Checkpoint(round=round_, metrics=metrics)

    rows = [row(1, SHARE, 0.9), row(2, "judge/score", 0.1), row(3, "loss/total", -5.0)]
    assert best_of(rows) is rows[1]


def test_a_corrupt_best_gives_its_place_to_the_next(engine: Engine, folder: Path) -> None:
    run = Run(engine, folder, keep=3)
    for round_, share in enumerate((0.5, 0.9, 0.1), start=1):
        run.round(round_, agreement_share=share)
        run.keep(round_)
    with transaction(engine) as session:
        mark_corrupt(session, run.rows()[1].id)
    assert run.kept() == {1: True, 2: False, 3: False}
    assert [row.state for row in run.rows()] == ["ready", "corrupt", "ready"]


def test_a_corrupt_checkpoint_is_named_once_and_replaced_by_the_next_whole_one(
    engine: Engine, folder: Path
) -> None:
    run = Run(engine, folder, keep=3)
    broken = run.keep(1)
    for _ in range(2):
        with transaction(engine) as session:
            mark_corrupt(session, broken)
    told = [e for e in read_events(engine, run.job_id) if e.type == "checkpoint_corrupt"]
    assert [(e.level, e.data) for e in told] == [("error", {"checkpoint_id": broken, "round": 1})]
    assert broken in told[0].message
    whole = run.keep(1)
    assert [row.id for row in run.rows()] == [whole]
    assert list(run.store.folders()) == [whole]
