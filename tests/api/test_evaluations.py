"""Submitting evaluations: what they become, and every reason to refuse one."""

from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from tests import factories
from tests.api.asking import is_problem
from tests.run.given import dialogues, pairs

NOBODY = "ckpt_" + "0" * 26


def asked(dataset: str, **changes: Any) -> dict[str, Any]:
    return {
        "prompts": {"dataset": dataset},
        "contestants": [{"label": "a", "model": "small"}, {"label": "b", "model": "small"}],
        "scorers": [{"name": "rubric"}],
        "pairwise": {"judge": {"name": "paid"}},
        **changes,
    }


def test_an_evaluation_is_a_job_of_its_own_kind(client: TestClient, engine: Engine) -> None:
    answer = client.post("/v1/evaluations", json=asked(factories.dataset(engine).id))
    assert answer.status_code == 202, answer.text
    job = client.get(answer.headers["Location"]).json()
    assert (job["kind"], job["status"]) == ("evaluation", "queued")
    # 4 prompts: 2 answers, 2 scorings and 2 looks at one pair each
    assert job["progress"]["steps_total"] == 4 * (2 + 2 + 2)
    assert job["resolved"]["pairs"] == [[0, 1]]
    assert job["resolved"]["pairwise"]["judge"]["type"] == "openai"
    assert len(job["resolved"]["contestants"][0]["entry_sha256"]) == 64


def test_the_report_of_an_evaluation_that_has_not_begun_is_empty(
    client: TestClient, engine: Engine
) -> None:
    job = client.post("/v1/evaluations", json=asked(factories.dataset(engine).id)).json()
    report = client.get(f"/v1/jobs/{job['id']}/report").json()
    assert report["complete"] is False
    assert [one["missing"] for one in report["contestants"]] == [4, 4]
    [duel] = report["comparisons"]
    assert duel["winner"] is None
    assert duel["record"]["why"] == "4 of 4 pairs are not compared yet"


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"contestants": []}, "/contestants", "missing"),
        (
            {"contestants": [{"label": "a", "model": "small"}] * 2},
            "/contestants",
            "inconsistent_parameters",
        ),
        ({"contestants": [{"label": "a"}]}, "/contestants/0", "inconsistent_parameters"),
        (
            {"contestants": [{"label": "a", "model": "small", "checkpoint": NOBODY}]},
            "/contestants/0",
            "inconsistent_parameters",
        ),
        (
            {"contestants": [{"label": "a", "model": "nobody"}]},
            "/contestants/0/model",
            "model_not_allowed",
        ),
        (
            {"contestants": [{"label": "a", "checkpoint": NOBODY}]},
            "/contestants/0/checkpoint",
            "checkpoint_not_found",
        ),
        (
            {"contestants": [{"label": "a", "model": "small", "strategy": "icl"}]},
            "/contestants/0",
            "inconsistent_parameters",
        ),
        (
            {"contestants": [{"label": "a", "endpoint": "rubric"}]},
            "/contestants/0/endpoint",
            "judge_not_allowed",
        ),
        (
            {"contestants": [{"label": "a", "endpoint": "paid"}], "samples_per_prompt": 2},
            "/contestants/0/endpoint",
            "inconsistent_parameters",
        ),
        ({"scorers": [{"name": "nobody"}]}, "/scorers/0/name", "judge_not_allowed"),
        ({"scorers": [{"name": "paid"}]}, "/scorers/0", "inconsistent_parameters"),
        (
            {"pairwise": {"judge": {"name": "paid", "orders": 2}}},
            "/pairwise/judge/orders",
            "unknown_field",
        ),
        ({"consistency": {"n": 5}}, "/consistency", "inconsistent_parameters"),
        ({"judged": "job_" + "0" * 26}, "/judged", "job_not_found"),
        ({"judged": "job_" + "0" * 26, "scorers": []}, "/judged", "job_not_found"),
        (
            {"pairwise": {"judge": {"name": "nobody"}}},
            "/pairwise/judge/name",
            "judge_not_allowed",
        ),
        (
            {"pairwise": {"judge": {"name": "paid"}, "baseline": "c"}},
            "/pairwise/baseline",
            "inconsistent_parameters",
        ),
        (
            {"generation": {"max_new_tokens": 64, "max_length": 64}},
            "/generation/max_new_tokens",
            "inconsistent_parameters",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_refused_with_its_place(
    changes: dict[str, Any], pointer: str, code: str, client: TestClient, engine: Engine
) -> None:
    answer = client.post("/v1/evaluations", json=asked(factories.dataset(engine).id, **changes))
    assert answer.status_code == 422, answer.text
    found = {fault["pointer"]: fault["code"] for fault in answer.json()["errors"]}
    assert found[pointer] == code


def test_one_contestant_alone_can_be_scored_and_not_compared(
    client: TestClient, engine: Engine
) -> None:
    alone = [{"label": "a", "model": "small"}]
    body = asked(factories.dataset(engine).id, contestants=alone)
    is_problem(client.post("/v1/evaluations", json=body), 422, "inconsistent_parameters")
    assert client.post("/v1/evaluations", json={**body, "pairwise": None}).status_code == 202


def test_without_prompts_there_is_nothing_to_score(client: TestClient, engine: Engine) -> None:
    body = asked("ds_" + "0" * 26, prompts=None)
    answer = client.post("/v1/evaluations", json=body)
    pointers = {fault["pointer"] for fault in answer.json()["errors"]}
    assert pointers == {"/prompts", "/scorers", "/pairwise"}
    given = {"dataset": dialogues(engine).id}
    body |= {"given": given, "scorers": [], "pairwise": None}
    job = client.post("/v1/evaluations", json=body).json()
    assert job["progress"]["steps_total"] == 2 * 4


def test_a_judge_is_looked_at_when_its_job_has_ended(client: TestClient, engine: Engine) -> None:
    def looked(job_id: str, **changes: Any) -> Any:
        body = {"judged": job_id, "scorers": [{"name": "rubric"}], **changes}
        return client.post("/v1/evaluations", json=body)

    ended = {"resolved": {"method": {"type": "cyclealign"}}, "state": "succeeded"}
    job = factories.job(engine, **ended)
    factories.save(engine, factories.ranking(job), factories.ranking(job, 1))
    answer = looked(job.id)
    assert answer.status_code == 202, answer.text
    assert answer.json()["progress"]["steps_total"] == 2
    is_problem(looked(job.id, scorers=[]), 422, "inconsistent_parameters")
    is_problem(looked("job_" + "0" * 26), 422, "job_not_found")
    queued = factories.job(engine, resolved={"method": {"type": "cyclealign"}})
    is_problem(looked(queued.id), 422, "inconsistent_parameters")
    other = factories.job(engine, **{**ended, "resolved": {"method": {"type": "sft"}}})
    is_problem(looked(other.id), 422, "inconsistent_parameters")


def test_examples_are_dialogues(client: TestClient, engine: Engine) -> None:
    def shown(dataset: str, n: int) -> Any:
        examples = {"dataset": dataset, "n": n}
        one = {"label": "a", "model": "small", "strategy": "icl", "examples": examples}
        body = asked(factories.dataset(engine).id, contestants=[one], pairwise=None)
        return client.post("/v1/evaluations", json=body)

    assert shown(dialogues(engine).id, 4).status_code == 202
    is_problem(shown(dialogues(engine).id, 5), 422, "sample_too_large")
    is_problem(shown(factories.dataset(engine).id, 1), 422, "wrong_dataset_kind")


def test_a_reward_model_is_no_contestant(client: TestClient, engine: Engine) -> None:
    prompts = factories.dataset(engine).id
    given: dict[str, Any] = {
        "prompts": None,
        "given": {"dataset": dialogues(engine).id},
        "scorers": [],
    }
    for kind, accepted in (("cyclealign", True), ("ranking", True), ("reward_model", False)):
        job = factories.job(engine, resolved={"method": {"type": kind}})
        made = factories.checkpoint(engine, client.app.state.store, {}, job_id=job.id)  # type: ignore[attr-defined]  # ours
        body = asked(prompts, contestants=[{"label": "a", "checkpoint": made.id}], pairwise=None)
        answer = client.post("/v1/evaluations", json=body)
        assert (answer.status_code == 202) is accepted, answer.text
        assert client.post("/v1/evaluations", json={**body, **given}).status_code == 202


def test_letters_name_responses_to_choose_from(client: TestClient, engine: Engine) -> None:
    body = asked(factories.dataset(engine).id, given={"dataset": dialogues(engine).id})
    assert client.post("/v1/evaluations", json=body).status_code == 202
    body["given"]["form"] = "letters"
    is_problem(client.post("/v1/evaluations", json=body), 422, "wrong_dataset_kind")


def test_a_reward_model_knows_no_letters(client: TestClient, engine: Engine) -> None:
    job = factories.job(engine, resolved={"method": {"type": "reward_model"}})
    made = factories.checkpoint(engine, client.app.state.store, {}, job_id=job.id)  # type: ignore[attr-defined]  # ours
    body: dict[str, Any] = {
        "contestants": [{"label": "a", "checkpoint": made.id}],
        "given": {"dataset": pairs(engine).id},
    }
    assert client.post("/v1/evaluations", json=body).status_code == 202
    body["given"]["form"] = "letters"
    is_problem(client.post("/v1/evaluations", json=body), 422, "inconsistent_parameters")
