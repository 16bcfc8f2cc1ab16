"""Submitting jobs on given responses: what they need, and what they have no use for."""

from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from tests import factories
from tests.api.asking import faults, is_problem, prompt_positions
from tests.run.given import dialogues, pairs

METHODS: list[dict[str, Any]] = [
    {"type": "ranking"},
    {"type": "ranking", "objective": {"type": "dpo", "beta": 0.5}},
    {"type": "sft"},
    {"type": "reward_model", "validation_share": 0.4},
]


def asked(dataset: str, method: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "model": {"name": "small"},
        "prompts": {"dataset": dataset},
        "method": method,
        **changes,
    }


@pytest.mark.parametrize("method", METHODS, ids=lambda one: str(one["type"]))
def test_no_judge_is_needed(method: dict[str, Any], client: TestClient, engine: Engine) -> None:
    answer = client.post("/v1/jobs", json=asked(pairs(engine).id, method))
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert job["resolved"]["judge"] is None
    assert job["resolved"]["method"]["type"] == method["type"]


def test_a_reward_model_s_rows_are_split_when_it_is_submitted(
    client: TestClient, engine: Engine
) -> None:
    answer = client.post("/v1/jobs", json=asked(pairs(engine, 20).id, METHODS[3])).json()
    training = prompt_positions(engine, answer["id"], "align")
    held = prompt_positions(engine, answer["id"], "validation")
    assert sorted(training + held) == list(range(20))
    assert answer["resolved"]["method"]["validation_rows"] == len(held)
    assert answer["progress"]["steps_total"] == len(training)


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"preset": "paper"}, "/preset"),
        ({"demonstrations": "none"}, "/demonstrations"),
        ({"judge": {"name": "rubric"}}, "/judge"),
    ],
)
def test_what_could_have_no_effect_is_refused(
    changes: dict[str, Any], pointer: str, client: TestClient, engine: Engine
) -> None:
    answer = client.post("/v1/jobs", json=asked(pairs(engine).id, METHODS[0], **changes))
    is_problem(answer, 422, "inconsistent_parameters")
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


def test_only_a_judge_that_ranks_is_asked_in_several_orders(
    client: TestClient, engine: Engine
) -> None:
    held_out = {"dataset": factories.dataset(engine).id}
    judge = {"name": "rubric", "orders": 2}
    for method in METHODS[:3]:
        body = asked(pairs(engine).id, method, judge=judge, held_out=held_out)
        assert faults(client, body) == {"/judge/orders": "inconsistent_parameters"}


def test_a_method_says_which_kinds_of_dataset_it_reads(client: TestClient, engine: Engine) -> None:
    for method, dataset in (
        ({"type": "ranking"}, dialogues(engine)),
        ({"type": "sft"}, factories.dataset(engine)),
        ({"type": "cyclealign"}, pairs(engine)),
    ):
        judge = {"judge": {"name": "rubric"}} if method["type"] == "cyclealign" else {}
        answer = client.post("/v1/jobs", json=asked(dataset.id, method, **judge))
        is_problem(answer, 422, "wrong_dataset_kind")


def test_the_cycle_needs_a_judge(client: TestClient, engine: Engine) -> None:
    body = asked(factories.dataset(engine).id, {"type": "cyclealign"})
    assert faults(client, body) == {"/judge": "missing"}


def test_held_out_prompts_of_a_baseline_need_a_judge(client: TestClient, engine: Engine) -> None:
    held_out = {"dataset": factories.dataset(engine).id}
    body = asked(dialogues(engine).id, {"type": "sft"}, held_out=held_out)
    assert faults(client, body) == {"/held_out": "inconsistent_parameters"}
    assert client.post("/v1/jobs", json={**body, "judge": {"name": "rubric"}}).status_code == 202


@pytest.mark.parametrize(
    ("judge", "pointer", "code"),
    [
        ({}, "/judge", "inconsistent_parameters"),
        ({"name": "rubric", "checkpoint": "ckpt_" + "0" * 26}, "/judge", "inconsistent_parameters"),
        ({"checkpoint": "ckpt_" + "0" * 26}, "/judge/checkpoint", "checkpoint_not_found"),
    ],
)
def test_a_judge_is_named_in_one_way(
    judge: dict[str, str], pointer: str, code: str, client: TestClient, engine: Engine
) -> None:
    body = asked(factories.dataset(engine).id, {"type": "cyclealign"}, judge=judge)
    assert faults(client, body) == {pointer: code}


def test_only_the_final_checkpoint_of_a_reward_model_can_judge(
    client: TestClient, engine: Engine
) -> None:
    prompts = factories.dataset(engine).id
    for kind, final, accepted in (
        ("reward_model", True, True),
        ("reward_model", False, False),
        ("cyclealign", True, False),
    ):
        job = factories.job(engine, resolved={"method": {"type": kind}})
        made = factories.checkpoint(engine, client.app.state.store, {}, job_id=job.id, final=final)  # type: ignore[attr-defined]  # ours
        body = asked(prompts, {"type": "cyclealign"}, judge={"checkpoint": made.id})
        answer = client.post("/v1/jobs", json=body)
        assert (answer.status_code == 202) is accepted, answer.text


def test_a_job_without_a_report_says_so(client: TestClient, engine: Engine) -> None:
    job = client.post("/v1/jobs", json=asked(dialogues(engine).id, {"type": "sft"})).json()
    is_problem(client.get(f"/v1/jobs/{job['id']}/report"), 404, "no_report")


def test_a_report_before_the_measurement_has_no_numbers(client: TestClient, engine: Engine) -> None:
    job = client.post("/v1/jobs", json=asked(pairs(engine).id, METHODS[3])).json()
    report = client.get(f"/v1/jobs/{job['id']}/report").json()
    assert report["accuracy"] == {"value": None, "low": None, "high": None, "n": 0}
    assert report["pairs"] > 0
    assert report["length_only"]["value"] == 1.0


def test_a_held_out_prompt_that_trains_is_left_out_whatever_dataset_it_is_of(
    client: TestClient, engine: Engine
) -> None:
    """Both datasets number their prompts from 0: the first four are the same."""
    training, held_out = factories.dataset(engine, 4), factories.dataset(engine, 7)
    body = asked(
        training.id,
        {"type": "cyclealign"},
        judge={"name": "rubric"},
        held_out={"dataset": held_out.id},
    )
    job = client.post("/v1/jobs", json=body).json()
    assert prompt_positions(engine, job["id"], "held_out") == [4, 5, 6]
    assert job["resolved"]["held_out"]["left_out"] == 4
    body["held_out"]["sample"] = {"n": 4}
    assert faults(client, body) == {"/held_out/sample/n": "sample_too_large"}
