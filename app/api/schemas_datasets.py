"""What datasets look like over HTTP: the form of an upload, the shapes of answers, examples."""

from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field

from app.api.schemas import Out, Time
from app.core.spec.base import Label, Spec
from app.services.datasets import OnError, State
from app.services.formats.rows import Kind


class DatasetForm(Spec):
    """The text parts beside the file."""

    kind: Kind
    name: Label | None = None
    on_error: OnError = "reject"
    subset: Label | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None


DATASET_EXAMPLE: dict[str, Any] = {
    "object": "dataset",
    "id": "ds_06dwz1v3c5ytq8m0k2n4p6r8s0",
    "name": "harmless-prompts.jsonl",
    "kind": "prompts",
    "on_error": "skip",
    "state": "ready",
    "format": "jsonl",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "bytes": 48213,
    "line_count": 200,
    "row_count": 199,
    "issue_count": 1,
    "issue_counts": {"empty_prompt": 1},
    "subset_counts": {"harmless-base": 199},
    "created_at": "2026-01-05T09:00:00Z",
}
ISSUE_EXAMPLE: dict[str, Any] = {
    "line": 73,
    "code": "empty_prompt",
    "message": "The prompt is empty.",
    "pointer": None,
    "severity": "error",
    "excerpt": '{"prompt": " "}',
}
ROW_EXAMPLE: dict[str, Any] = {
    "position": 0,
    "line": 1,
    "id": "q-1",
    "subset": "harmless-base",
    "split": None,
    "metadata": {},
    "messages": [{"role": "user", "content": "How do I fix a bike tyre?"}],
    "responses": None,
    "ranking": None,
    "scores": None,
}


class DatasetOut(Out):
    """A dataset; `line_count` counts lines with content, `row_count` those that can be used."""

    model_config = ConfigDict(json_schema_extra={"examples": [DATASET_EXAMPLE]})

    object: Literal["dataset"] = "dataset"
    id: str
    name: str
    kind: Kind
    on_error: OnError
    state: State
    format: str
    sha256: str = Field(description="Of the bytes as they were sent.")
    bytes: int
    line_count: int
    row_count: int
    issue_count: int
    issue_counts: dict[str, int] = Field(description="Issues by code.")
    subset_counts: dict[str, int] = Field(description="Rows by subset.")
    created_at: Time


class IssueOut(Out):
    """Something wrong with a line; an `error` loses the row, a `warning` keeps it."""

    model_config = ConfigDict(json_schema_extra={"examples": [ISSUE_EXAMPLE]})

    line: int
    code: str
    message: str
    pointer: str | None
    severity: Literal["error", "warning"]
    excerpt: str | None


class StoredOut(DatasetOut):
    """A dataset as it was stored, with its first issues; the rest is at `/issues`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**DATASET_EXAMPLE, "issues": [ISSUE_EXAMPLE]}]}
    )

    issues: list[IssueOut]


class RowOut(Out):
    """One row as it will be used, with where it came from."""

    model_config = ConfigDict(json_schema_extra={"examples": [ROW_EXAMPLE]})

    position: int
    line: int
    row_id: str | None = Field(serialization_alias="id")
    subset: str | None
    split: str | None
    extra: dict[str, Any] = Field(serialization_alias="metadata")
    messages: list[dict[str, str]]
    responses: list[str] | None
    ranking: list[list[int]] | None = Field(description="Positions of responses, best to worst.")
    scores: list[float] | None


UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["file", "kind"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "JSON Lines, or for prompts plain text with a prompt a "
                            "line; UTF-8, plain or as gzip. The content decides, not the name.",
                        },
                        "kind": {"enum": list(get_args(Kind))},
                        "name": {
                            "type": "string",
                            "maxLength": 120,
                            "description": "A label; the file's own name if there is none.",
                        },
                        "on_error": {
                            "enum": ["reject", "skip"],
                            "default": "reject",
                            "description": "`skip` uses the good rows and counts the others.",
                        },
                        "subset": {
                            "type": "string",
                            "maxLength": 120,
                            "description": "The subset of rows that name none.",
                        },
                        "sha256": {
                            "type": "string",
                            "pattern": "^[0-9a-f]{64}$",
                            "description": "Checked against the bytes received.",
                        },
                    },
                },
                "example": {
                    "file": '{"prompt": "How do I fix a bike tyre?"}\n',
                    "kind": "prompts",
                    "on_error": "reject",
                },
            }
        },
    }
}
