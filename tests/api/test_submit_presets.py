"""What the fields of a job become: by a preset, by the judge that is asked."""

from sqlalchemy import Engine
from starlette.testclient import TestClient

from tests import factories
from tests.api.asking import submit


def test_the_paper_preset_pins_what_the_paper_states(client: TestClient, engine: Engine) -> None:
    resolved = submit(client, factories.dataset(engine).id, preset="paper")["resolved"]

    assert resolved["method"]["candidates"] == 3
    assert resolved["method"]["objective"] == {"type": "pro", "lambda": 4.0}
    assert resolved["method"]["iterations"] == 5
    assert resolved["method"]["concurrency"] == 1
    assert resolved["optimizer"]["lr"] == 5e-5
    assert resolved["generation"]["max_length"] == 512


def test_a_value_that_agrees_with_the_preset_is_no_contradiction(
    client: TestClient, engine: Engine
) -> None:
    method = {"type": "cyclealign", "candidates": 3, "objective": {"type": "pro", "lambda": 4}}

    submit(client, factories.dataset(engine).id, preset="paper", method=method)


def test_defaults_that_a_judge_cannot_honour_are_said_to_be_not_applicable(
    client: TestClient, engine: Engine
) -> None:
    shown = factories.dataset(engine, kind="demonstrations").id

    job = submit(
        client,
        factories.dataset(engine).id,
        judge={"name": "rubric"},
        demonstrations={"dataset": shown},
        method={"type": "cyclealign", "dynamic_demonstrations": "agreement"},
    )

    fields = [entry["field"] for entry in job["resolved"]["not_applicable"]]
    assert fields == ["demonstrations", "method.dynamic_demonstrations", "method.teacher"]
    assert job["resolved"]["method"]["teacher"] is False
