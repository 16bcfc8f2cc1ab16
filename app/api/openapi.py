"""The OpenAPI document: problems on every operation, an example on every body."""

from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.api.examples import EXAMPLES
from app.api.schemas import ProblemOut

REF = "#/components/schemas/"

TAGS = [
    {"name": "jobs", "description": "Submit, watch and cancel alignment jobs."},
    {"name": "runs", "description": "What a run recorded, row by row."},
    {"name": "datasets", "description": "Prompts, demonstrations and preferences."},
    {"name": "checkpoints", "description": "The aligned models, file by file or as an archive."},
    {"name": "catalogue", "description": "What this service offers: models, judges, limits."},
    {"name": "health", "description": "Whether the service lives and is ready."},
]


def describe(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return the function that makes the document when it is first asked for."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=TAGS,
            )
            app.openapi_schema = _finished(made)
        return app.openapi_schema

    return document


def _finished(document: dict[str, Any]) -> dict[str, Any]:
    schemas = document["components"]["schemas"]
    schemas |= _problem_schemas()
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for name, example in EXAMPLES.items():
        if name in schemas:
            schemas[name]["examples"] = [example]
    for operation in _operations(document):
        operation["responses"].pop("422", None)
        operation["responses"]["default"] = _problem_answer()
        for answer in operation["responses"].values():
            _show_example(answer, schemas)
    return document


def _problem_schemas() -> dict[str, Any]:
    schema = ProblemOut.model_json_schema(ref_template=REF + "{model}")
    inner: dict[str, Any] = schema.pop("$defs")
    return {**inner, "ProblemOut": schema}


def _problem_answer() -> dict[str, Any]:
    return {
        "description": "What is wrong, where, and how to mend it (RFC 9457).",
        "content": {"application/problem+json": {"schema": {"$ref": f"{REF}ProblemOut"}}},
    }


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _show_example(answer: dict[str, Any], schemas: dict[str, Any]) -> None:
    for media in answer.get("content", {}).values():
        found = _example(media.get("schema", {}), schemas)
        if found is not None and not {"example", "examples"} & media.keys():
            media["example"] = found


def _example(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    [schema, *_] = schema.get("anyOf", [schema])
    known = schemas.get(schema.get("$ref", "").removeprefix(REF), schema)
    if "examples" in known:
        return known["examples"][0]
    items = known.get("properties", {}).get("data", {}).get("items")
    if items is None:
        return None
    row = _example(items, schemas)
    if row is None:
        return None
    name = row.get("id", "WyJhIiwxNF0")
    return {"object": "list", "data": [row], "first_id": name, "last_id": name, "has_more": False}
