"""The rows of a run as users see them."""

from typing import Any, Literal

from pydantic import Field

from app.api.schemas import Out, Time

Groups = list[list[int]]


class EventOut(Out):
    """One line of the job's log."""

    seq: int
    attempt: int
    type: str
    level: str
    message: str
    data: dict[str, Any]
    created_at: Time


class PlaceOut(Out):
    """A place in the run: `step` is the prompt's position, `iteration` the turn of its cycle."""

    stage: str
    step: int
    iteration: int


class ResponseOut(PlaceOut):
    """One sampled response."""

    k: int
    round: int
    update: int = Field(description="The weights version that sampled it.")
    text: str
    token_ids: list[int] = Field(description="As sampled, with the end token if there was one.")
    logprob_sum: float = Field(description="Nats, at temperature 1.")
    belief: float | None = Field(description="Nats a token, under the weights that sampled it.")
    finish: str
    seed: int
    merged_into: int | None = Field(description="The equal response, or -1 if it was empty.")
    score: float | None
    why: dict[str, Any] | None


class ListedResponseOut(ResponseOut):
    """A response with the prompt that it answers."""

    prompt: list[Any]


class OrderOut(Out):
    """One of several presentation orders, and what the judge said to it."""

    presented: list[int] = Field(description="The k in the order that the judge saw.")
    black_box: Groups | None = Field(description="Groups of k, best to worst, by the judge.")
    fault: str | None
    raw_reply: str | None


class RankingOut(PlaceOut):
    """Both rankings of one iteration and all that led to them and followed."""

    round: int
    update: int | None = Field(description="The weights version it led to.")
    outcome: str
    prompt: list[Any]
    responses: list[ResponseOut]
    white_box: Groups = Field(description="Groups of k, best to worst, by belief.")
    black_box: Groups | None = Field(description="Groups of k, best to worst, by the judge.")
    presented: list[int] = Field(description="The k in the order that the judge saw first.")
    orders: list[OrderOut] | None = Field(
        description="Every presentation order with its own verdict, where `judge.orders` asked for "
        "several; `black_box` is then what they come to, `raw_reply` that to the first."
    )
    fault: str | None
    raw_reply: str | None
    why: dict[str, Any] | None
    teacher: str | None
    training: dict[str, Any] | None = Field(description="The texts and groups that were learned.")
    loss: dict[str, Any] | None
    created_at: Time


class AgreementOut(PlaceOut):
    """What both rankings agree on."""

    round: int
    update: int
    agreement: list[int] = Field(description="The k that both put in this order, best first.")
    length: int
    candidates: int
    chance_length: float = Field(description="Mean length if both orders were unrelated.")
    complete: bool
    kendall_tau: float | None
    created_at: Time


class DemonstrationOut(PlaceOut):
    """A dynamic demonstration, read by the judge from the next iteration on."""

    round: int
    origin: str
    messages: list[Any]
    responses: list[str]
    answer: Groups
    created_at: Time


class JudgeCallOut(PlaceOut):
    """A post to the judge, or the reuse of an answer that was paid before."""

    try_: int = Field(alias="try")
    attempt: int
    kind: str
    outcome: str | None
    ambiguous: bool = Field(description="Repeats a call that was under way at a death.")
    seconds: float | None
    key: str
    repeat: int
    question_sha256: str | None
    judge: str | None
    state: str | None
    reply: str | None
    finish: str | None
    reason: str | None
    detail: str | None
    model: str | None = Field(description="As the endpoint named it.")
    fingerprint: str | None
    tokens_in: int | None
    cached_tokens_in: int | None
    tokens_out: int | None
    cost_micros: int | None = Field(
        description="Of the answer, paid once; null where it is unknown."
    )
    currency: str | None
    request: dict[str, Any] | None = Field(description="With `include_request=true`.")
    created_at: Time


class StageUsageOut(Out):
    """What one stage of a run asked of the judge, and what that took."""

    stage: str
    posts: dict[str, int] = Field(
        description="By outcome: `done`, the reason of a failure, or `in_flight`."
    )
    reuses: int = Field(description="Answers found in the ledger.")
    extra_paid: int = Field(description="Posts that repeat one that was under way at a death.")
    faults: dict[str, int] = Field(
        description="Iterations without a usable ranking, by what was wrong with the reply."
    )
    tokens_in: int
    cached_tokens_in: int
    tokens_out: int
    cost_micros: int
    currency: str | None


class UsageOut(Out):
    """What a job asked of its judge, by stage."""

    object: Literal["usage"] = "usage"
    job_id: str
    data: list[StageUsageOut]


class PointsOut(Out):
    """The points of a series in columns."""

    update: list[int]
    t: list[Time]
    value: list[float | None]


class SeriesOut(Out):
    """One series over the weights versions."""

    name: str
    unit: str | None
    better: Literal["up", "down"] | None
    points: PointsOut
    total_points: int
    non_finite: int
    downsampled: Literal["stride", "none"]


class MetricsOut(Out):
    """All series that were asked for."""

    object: Literal["metrics"] = "metrics"
    job_id: str
    data: list[SeriesOut]


class CheckpointOut(Out):
    """A checkpoint; one that is `corrupt` cannot be downloaded."""

    id: str
    object: Literal["checkpoint"] = "checkpoint"
    job_id: str
    round: int
    update: int
    steps_done: int
    attempt: int
    state: str
    final: bool
    best: bool = Field(
        description="The best score in `metrics` among those that are there; `keep` spares it."
    )
    bytes: int
    manifest_sha256: str
    metrics: dict[str, Any]
    created_at: Time


class CheckpointDetail(CheckpointOut):
    """A checkpoint and its files."""

    manifest: dict[str, Any]
