"""Every bad value has its code and its place, and is never shown back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from app.core.spec.job import JobSpec
from app.services.faults import known_fields
from tests.api.asking import GOOD, SECRET, is_problem, post


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"name": "a\x00"}, "/name", "forbidden_character"),
        ({"metadata": {"k": "a\x00"}}, "/metadata/k", "forbidden_character"),
        ({"name": "\ud800"}, "/name", "invalid_unicode"),
        ({"metadata": {"k": "\ud800"}}, "/metadata/k", "invalid_unicode"),
        ({"seed": 99999999999999999999}, "/seed", "out_of_range"),
        ({"seed": -1}, "/seed", "out_of_range"),
        ({"seed": "1"}, "/seed", "type_error"),
        ({"seed": True}, "/seed", "type_error"),
        ({"seed": 1.5}, "/seed", "type_error"),
        ({"optimizer": {"lr": 0}}, "/optimizer/lr", "out_of_range"),
        ({"optimizer": {"lr": 1.5}}, "/optimizer/lr", "out_of_range"),
        ({"optimizer": {"betas": [0.9]}}, "/optimizer/betas/1", "missing"),
        ({"optimizer": {"betas": [0.9, 1]}}, "/optimizer/betas/1", "out_of_range"),
        ({"generation": {"temperature": -1}}, "/generation/temperature", "out_of_range"),
        ({"generation": {"top_p": 1.1}}, "/generation/top_p", "out_of_range"),
        ({"method": {"type": "cyclealign", "candidates": 1}}, "/method/candidates", "out_of_range"),
        (
            {"method": {"type": "cyclealign", "candidates": 17}},
            "/method/candidates",
            "out_of_range",
        ),
        (
            {"method": {"type": "cyclealign", "iterations": 51}},
            "/method/iterations",
            "out_of_range",
        ),
        ({"method": {"type": "cyclealign", "teacher": SECRET}}, "/method/teacher", "not_allowed"),
        (
            {"method": {"type": "cyclealign", "objective": {"type": SECRET}}},
            "/method/objective",
            "unknown_type",
        ),
        ({"method": {"type": "cyclealign", "objective": {}}}, "/method/objective", "missing"),
        (
            {"method": {"type": "cyclealign", "objective": {"type": "rrhf", "lambda": -1}}},
            "/method/objective/lambda",
            "out_of_range",
        ),
        (
            {"method": {"type": "cyclealign", "objective": {"type": "rrhf", "lambda": SECRET}}},
            "/method/objective/lambda",
            "not_allowed",
        ),
        ({"demonstrations": SECRET}, "/demonstrations", "type_error"),
        ({"demonstrations": {}}, "/demonstrations/dataset", "missing"),
        ({"prompts": {"dataset": "job_" + "0" * 26}}, "/prompts/dataset", "invalid_format"),
        ({"prompts": {}}, "/prompts/dataset", "missing"),
        ({"model": {"name": "../etc/passwd"}}, "/model/name", "invalid_format"),
        ({"model": {"name": "/abs"}}, "/model/name", "invalid_format"),
        ({"model": {"name": "file:///x"}}, "/model/name", "invalid_format"),
        ({"model": {"name": "other@main"}}, "/model/name", "invalid_format"),
        ({"name": ""}, "/name", "invalid_length"),
        ({"name": "x" * 121}, "/name", "invalid_length"),
        ({"metadata": {str(n): "" for n in range(17)}}, "/metadata", "invalid_length"),
        ({"metadata": {"k": 1}}, "/metadata/k", "type_error"),
        ({"is_admin": True}, "/is_admin", "unknown_field"),
        ({"workspace_id": "ws"}, "/workspace_id", "unknown_field"),
        ({"state": "running"}, "/state", "unknown_field"),
        ({"spent_micros": 1}, "/spent_micros", "unknown_field"),
        ({"a/b~c": 1}, "/a~1b~0c", "unknown_field"),
    ],
)
def test_a_bad_value_is_named_by_its_place_and_code(
    shared: TestClient, change: dict[str, Any], pointer: str, code: str
) -> None:
    body = is_problem(post(shared, json.dumps({**GOOD, **change})), 422, code)

    assert [(fault["pointer"], fault["code"]) for fault in body["errors"]] == [(pointer, code)]
    assert body["error"]["param"] == pointer[1:].replace("/", ".")


def test_an_infinite_number_is_refused(shared: TestClient) -> None:
    body = json.dumps({**GOOD, "optimizer": {"lr": 0.5}}).replace("0.5", "1e999")

    is_problem(post(shared, body), 422, "finite_number_required")


def test_all_faults_are_in_one_answer(shared: TestClient) -> None:
    change = {"method": {"type": "cyclealign", "itertions": 1, "candidates": 1}, "seed": -1}

    body = is_problem(post(shared, json.dumps({**GOOD, **change})), 422, "invalid")

    assert {fault["pointer"] for fault in body["errors"]} == {
        "/method/itertions",
        "/method/candidates",
        "/seed",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"method": {"type": "cyclealign", "itertions": 1}},
            "unknown field 'itertions'; did you mean 'iterations'?",
        ),
        (
            {"method": {"type": "cyclealign", "objective": {"type": "rrhf", "lamda": 1}}},
            "unknown field 'lamda'; did you mean 'lambda'?",
        ),
        (
            {"model": {"name": "a", "tuning": {"type": "lora", "rnk": 1}}},
            "unknown field 'rnk'; did you mean 'rank'?",
        ),
        (
            {"demonstrations": {"datset": "x", "dataset": GOOD["prompts"]["dataset"]}},
            "unknown field 'datset'; did you mean 'dataset'?",
        ),
        (
            {"prompts": {**GOOD["prompts"], "zzz": 1}},
            "unknown field 'zzz'; known: dataset, sample.",
        ),
    ],
)
def test_an_unknown_field_comes_with_the_nearest_known_one(
    shared: TestClient, change: dict[str, Any], message: str
) -> None:
    body = is_problem(post(shared, json.dumps({**GOOD, **change})), 422, "unknown_field")

    assert [fault["message"] for fault in body["errors"]] == [message]


def test_the_known_fields_of_a_place_are_those_of_the_variant_that_was_meant() -> None:
    assert known_fields(JobSpec, ("model", "tuning", "full")) == {"type"}
    assert known_fields(JobSpec, ("model", "tuning", "lora")) == {"type", "rank", "alpha"}


def test_a_missing_field_beside_a_secret_does_not_show_the_secret(shared: TestClient) -> None:
    body = {"api_key": SECRET, "judge": {"name": "rubric", "key": SECRET}}

    is_problem(post(shared, json.dumps(body)), 422, "invalid")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(SECRET) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*JobSpec.model_fields, "other"]), json_values))
def test_no_json_object_breaks_the_service_or_is_shown_back(
    shared: TestClient, body: dict[str, Any]
) -> None:
    answer = post(shared, json.dumps(body))

    assert answer.status_code in {400, 422}
    assert SECRET not in answer.text
