"""Given responses as datasets: pairs in which the better text is told by a rule."""

from sqlalchemy import Engine

from app.core.models import Dataset, DatasetRow
from tests import factories

COLOURS = ("red", "green", "blue", "black", "white", "brown", "pink", "grey", "gold", "teal")


def pairs(engine: Engine, count: int = 10) -> Dataset:
    """Polite answers beat rude ones; two prompts stand twice."""
    made = factories.dataset(engine, 0, kind="preferences", row_count=count)
    names = [COLOURS[k % len(COLOURS)] for k in range(count - 2)] + list(COLOURS[:2])
    rows = [
        DatasetRow(
            dataset_id=made.id,
            position=k,
            line=k + 1,
            extra={},
            messages=[{"role": "user", "content": f"Is {name} a colour?"}],
            responses=[f"No, go away {k}.", f"Yes, {name} is a fine colour."],
            ranking=[[1], [0]],
            scores=[0.1, 0.9] if k % 2 else None,
        )
        for k, name in enumerate(names)
    ]
    factories.save(engine, *rows)
    return made


def dialogues(engine: Engine, count: int = 4) -> Dataset:
    """One reply a dialogue."""
    made = factories.dataset(engine, 0, kind="dialogues", row_count=count)
    rows = [
        DatasetRow(
            dataset_id=made.id,
            position=k,
            line=k + 1,
            extra={},
            messages=[{"role": "user", "content": f"Name colour {k}."}],
            responses=[f"{COLOURS[k]}."],
            ranking=[[0]],
        )
        for k in range(count)
    ]
    factories.save(engine, *rows)
    return made
