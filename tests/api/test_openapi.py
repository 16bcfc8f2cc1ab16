"""The document that describes the service, and the page that shows it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import TypeAdapter
from starlette.testclient import TestClient

from app.api import (
    schemas,
    schemas_experiments,
    schemas_jobs,
    schemas_reports,
    schemas_runs,
)
from app.api.examples import CLONE_REQUESTS, EXAMPLES, JOB_REQUESTS
from app.core.spec.clone import CloneSpec
from app.core.spec.job import JobSpec


@pytest.fixture(scope="session")
def document(shared: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = shared.get("/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def without_example(bodies: dict[str, Any]) -> list[str]:
    return [kind for kind, media in bodies.items() if not {"example", "examples"} & media.keys()]


def test_every_body_of_every_operation_has_an_example(document: dict[str, Any]) -> None:
    bare = []
    for name, operation in operations(document):
        request = operation.get("requestBody", {}).get("content", {})
        bare += [f"{name} request {kind}" for kind in without_example(request)]
        for status, answer in operation["responses"].items():
            bodies = without_example(answer.get("content", {}))
            bare += [f"{name} {status} {kind}" for kind in bodies]

    assert bare == []


def test_every_operation_has_an_id_a_summary_a_text_and_a_tag_with_a_text(
    document: dict[str, Any],
) -> None:
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    ids = [operation["operationId"] for _, operation in operations(document)]

    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)+", name) for name in ids)
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert set(operation["tags"]) <= tags, name


def test_every_operation_names_problems_as_its_errors(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert "422" not in operation["responses"], name
        assert "application/problem+json" in operation["responses"]["default"]["content"], name


def test_every_reference_of_the_document_leads_somewhere(
    shared: TestClient, document: dict[str, Any]
) -> None:
    references = set(
        re.findall(r'"#/components/schemas/([^"]+)"', shared.get("/openapi.json").text)
    )

    assert references <= document["components"]["schemas"].keys()


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_every_example_is_an_answer_that_the_service_could_give(name: str) -> None:
    modules = (schemas, schemas_experiments, schemas_jobs, schemas_reports, schemas_runs)
    [model] = [getattr(module, name) for module in modules if hasattr(module, name)]

    TypeAdapter(model).validate_python(EXAMPLES[name])


@pytest.mark.parametrize("name", sorted(JOB_REQUESTS))
def test_every_example_of_a_job_can_be_submitted(name: str) -> None:
    JobSpec.model_validate(JOB_REQUESTS[name]["value"])


@pytest.mark.parametrize("name", sorted(CLONE_REQUESTS))
def test_every_example_of_a_clone_can_be_read(name: str) -> None:
    CloneSpec.model_validate(CLONE_REQUESTS[name]["value"])


def test_the_documentation_needs_nothing_from_elsewhere(shared: TestClient) -> None:
    page = shared.get("/docs")
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)

    assert page.status_code == 200
    assert links
    for link in links:
        assert link.startswith("/docs/")
        assert shared.get(link).status_code == 200, link
    assert "//" not in re.sub(r"^// .*$", "", page.text, flags=re.MULTILINE)
