"""What the service offers, and whether it is ready."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from starlette.testclient import TestClient

from app.core.errors import Invalid
from app.core.models import State
from app.core.settings import Settings
from app.main import create_app
from app.services.catalogue import open_catalogue


def test_models_are_listed_without_the_operators_paths(shared: TestClient) -> None:
    answer = shared.get("/v1/models")

    [model] = answer.json()["data"]
    assert (model["id"], model["object"], model["license"]) == ("small", "model", "MIT")
    assert model["source"] == "folder"
    assert "/models/small" not in answer.text


def test_judges_are_listed_with_their_traits_and_without_addresses(shared: TestClient) -> None:
    answer = shared.get("/v1/judges")

    judges = {judge["id"]: judge for judge in answer.json()["data"]}
    assert sorted(judges) == ["local", "paid", "rubric", "unpriced"]
    assert judges["rubric"]["traits"] == {
        "reads_demonstrations": False,
        "writes_response": False,
        "gives_ties": True,
        "gives_scores": True,
    }
    assert judges["paid"]["model"] == "asked-model"
    assert judges["paid"]["price"]["output"] == 200
    assert "judge.example" not in answer.text
    assert "JUDGE_KEY" not in answer.text


def test_capabilities_name_what_a_form_needs(shared: TestClient) -> None:
    found = shared.get("/v1/capabilities").json()

    assert found["methods"] == ["cyclealign", "ranking", "sft", "reward_model"]
    assert {"pro", "rrhf", "dpo"} < set(found["objectives"])
    assert found["presets"]["paper"]["method.iterations"] == 5
    assert found["ranges"]["method"]["candidates"] == {"default": 3, "minimum": 2, "maximum": 16}
    assert set(found["states"]) == set(State)
    assert {"from": "running", "action": "cancel", "to": "cancelling"} in found["transitions"]


def test_a_catalogue_whose_local_judge_has_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.toml"
    path.write_text('[models]\n[judges.a]\ntype = "local_lm"\nmodel = "missing"\n')

    with pytest.raises(Invalid, match="missing"):
        open_catalogue(path)


def test_a_service_with_its_schema_is_ready(shared: TestClient) -> None:
    checks = shared.get("/readyz").json()["checks"]

    assert set(checks) == {"database", "migrations", "store", "broker"}
    assert all(check["ok"] for check in checks.values())


def test_a_service_on_an_older_schema_is_not_ready(client: TestClient, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM alembic_version"))

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["code"] == "not_ready"
    assert answer.json()["checks"]["migrations"]["ok"] is False


def test_a_broker_that_is_away_does_not_stop_the_service(
    settings: Settings, engine: Engine
) -> None:
    away = settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})
    with TestClient(create_app(away, engine)) as client:
        answer = client.get("/readyz")

    assert answer.status_code == 200
    assert answer.json()["checks"]["broker"]["ok"] is False


def test_a_service_without_its_database_lives_and_is_not_ready(settings: Settings) -> None:
    engine = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    with TestClient(create_app(settings, engine)) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
