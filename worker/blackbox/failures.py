"""Why a judge gave no answer: a tree of failures, each saying what may be done about it.

A reply that came but cannot be used is no failure; it is a `Malformed` value.
"""

from enum import StrEnum
from typing import ClassVar


class Reason(StrEnum):
    """The name of a failure, as it is stored and counted."""

    CONNECT_ERROR = "connect_error"
    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    QUOTA_EXHAUSTED = "quota_exhausted"
    CREDENTIAL_REJECTED = "credential_rejected"
    MODEL_NOT_FOUND = "model_not_found"
    REDIRECT_REFUSED = "redirect_refused"
    BAD_REQUEST = "bad_request"
    NOT_OPENAI = "not_openai"
    NOT_RECORDED = "not_recorded"
    ENDPOINT_DOWN = "endpoint_down"


class AskFailure(Exception):
    """A post that brought no answer.

    `maybe_paid`: the judge may have worked, and charged, for it. `retry_after`: the wait that the
    judge asked for, in seconds.
    """

    reason: ClassVar[Reason]
    retryable: ClassVar[bool] = False

    def __init__(
        self, detail: str, *, retry_after: float | None = None, maybe_paid: bool = False
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        self.maybe_paid = maybe_paid


class PassingFailure(AskFailure):
    """It may pass by itself: the same post is worth repeating after a wait."""

    retryable: ClassVar[bool] = True


class PromptFailure(AskFailure):
    """It concerns this one prompt; the next one may fare better, a repeat will not."""


class PersonNeeded(AskFailure):
    """Every further post would fail alike until somebody changes something."""


class ConnectFailed(PassingFailure):
    """No connection, or it broke off; `maybe_paid` once the request may have arrived."""

    reason = Reason.CONNECT_ERROR


class TimedOut(PassingFailure):
    """The request was sent and no whole answer came in time."""

    reason = Reason.TIMEOUT


class RateLimited(PassingFailure):
    """Too many requests or tokens for now."""

    reason = Reason.RATE_LIMITED


class ServerFailed(PassingFailure):
    """The endpoint broke: 5xx, or a conflict that it asks to repeat."""

    reason = Reason.SERVER_ERROR


class EndpointDown(PassingFailure):
    """It has failed for so long that the job should give back its machine and come again."""

    reason = Reason.ENDPOINT_DOWN


class QuotaExhausted(PersonNeeded):
    """The account has no money or quota left."""

    reason = Reason.QUOTA_EXHAUSTED


class CredentialRejected(PersonNeeded):
    """The key is missing, wrong or may not do this."""

    reason = Reason.CREDENTIAL_REJECTED


class ModelNotFound(PersonNeeded):
    """The endpoint knows no such model or path."""

    reason = Reason.MODEL_NOT_FOUND


class RedirectRefused(PersonNeeded):
    """The endpoint points elsewhere; dialogues and keys are not sent after it."""

    reason = Reason.REDIRECT_REFUSED


class BadRequest(PromptFailure):
    """The endpoint refuses this request as it is."""

    reason = Reason.BAD_REQUEST


class NotOpenAi(PromptFailure):
    """What came back is no chat completion: HTML, broken or foreign JSON, packed or too large."""

    reason = Reason.NOT_OPENAI


class NotRecorded(PromptFailure):
    """The replayed ledger holds no answer to this question."""

    reason = Reason.NOT_RECORDED
