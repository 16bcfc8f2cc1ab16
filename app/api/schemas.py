"""What all answers share."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

Time = Annotated[datetime, AfterValidator(lambda moment: moment.astimezone(UTC))]
"""RFC 3339 in UTC, with `Z`."""


class Out(BaseModel):
    """The base of answers; clients must tolerate fields that are added later."""

    model_config = ConfigDict(from_attributes=True, populate_by_name=True)


class FaultOut(Out):
    """One fault of a request: where it is, its code, how to mend it."""

    pointer: str | None = None
    line: int | None = None
    parameter: str | None = None
    code: str
    message: str


class OpenAiError(Out):
    """The same error as OpenAI's clients read it."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    code: str
    param: str | None


class ProblemOut(Out):
    """Problem details (RFC 9457), the body of every error on every path."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str | None
    errors: list[FaultOut]
    error: OpenAiError


class Health(Out):
    """The process answers."""

    status: Literal["ok"] = "ok"


class CheckOut(Out):
    """One dependency."""

    ok: bool
    seconds: float
    needed: bool


class Readiness(Out):
    """Every dependency that is needed answers."""

    status: Literal["ready"] = "ready"
    checks: dict[str, CheckOut]


class ModelOut(Out):
    """A model that jobs may name."""

    id: str
    object: Literal["model"] = "model"
    source: str
    revision: str | None
    weights: str
    license: str | None
    description: str
    chat: str
    entry_sha256: str


class TraitsOut(Out):
    """What a judge can do."""

    reads_demonstrations: bool
    writes_response: bool
    gives_ties: bool
    gives_scores: bool


class JudgeOut(Out):
    """A judge that jobs may name; its address and credential are the operator's."""

    id: str
    object: Literal["judge"] = "judge"
    type: str
    model: str | None
    traits: TraitsOut
    price: dict[str, Any] | None
    description: str
    entry_sha256: str


class CapabilitiesOut(Out):
    """What the service can do."""

    object: Literal["capabilities"] = "capabilities"
    service_version: str
    methods: list[str]
    objectives: list[str]
    tunings: list[str]
    presets: dict[str, dict[str, Any]]
    dataset_kinds: list[str]
    checkpoint_forms: list[str]
    ranges: dict[str, dict[str, Any]]
    limits: dict[str, int]
    states: dict[str, list[str]]
    transitions: list[dict[str, str]]
    job_schema: dict[str, Any]
