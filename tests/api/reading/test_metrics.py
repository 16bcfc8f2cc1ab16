"""Reading back a run's series."""

from itertools import pairwise

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from app.core.models import Job, Metric
from tests import factories


def points(job: Job, name: str, values: list[float | None]) -> list[Metric]:
    return [
        Metric(job_id=job.id, name=name, update=update, round=1, value=value)
        for update, value in enumerate(values, start=1)
    ]


def test_metrics_are_series_in_columns(client: TestClient, engine: Engine, job: Job) -> None:
    rows = points(job, "loss/total", [2.0, None, 1.0]) + points(job, "mine", [1.0])
    factories.save(engine, *rows)

    found = client.get(f"/v1/jobs/{job.id}/metrics").json()

    loss, mine = found["data"]
    assert (loss["name"], loss["unit"], loss["better"]) == ("loss/total", "nats", "down")
    assert loss["points"]["update"] == [1, 2, 3]
    assert loss["points"]["value"] == [2.0, None, 1.0]
    assert all(moment.endswith("Z") for moment in loss["points"]["t"])
    assert (loss["total_points"], loss["non_finite"], loss["downsampled"]) == (3, 1, "none")
    assert (mine["unit"], mine["better"]) == (None, None)


def test_metrics_can_be_asked_for_by_name_and_update(
    client: TestClient, engine: Engine, job: Job
) -> None:
    factories.save(engine, *points(job, "a", [0.0] * 9), *points(job, "b", [0.0]))

    path = f"/v1/jobs/{job.id}/metrics?names=a,c&from_update=3&to_update=5"
    [series] = client.get(path).json()["data"]

    assert (series["name"], series["points"]["update"]) == ("a", [3, 4, 5])


@pytest.mark.parametrize("total", [2, 3, 9, 10, 11, 19, 20, 97])
@pytest.mark.parametrize("most", [2, 3, 10])
def test_long_series_are_thinned_evenly_keep_both_ends_and_say_so(
    client: TestClient, engine: Engine, job: Job, total: int, most: int
) -> None:
    factories.save(engine, *points(job, "a", [0.0] * total))

    [series] = client.get(f"/v1/jobs/{job.id}/metrics?max_points={most}").json()["data"]

    updates = series["points"]["update"]
    assert len(updates) <= most
    assert (updates[0], updates[-1]) == (1, total)
    assert len({b - a for a, b in pairwise(updates[:-1])}) <= 1
    assert series["total_points"] == total
    assert series["downsampled"] == ("stride" if len(updates) < total else "none")
