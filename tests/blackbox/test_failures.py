"""No exception of the OpenAI package is left untranslated."""

import httpx2
import openai
import pytest

from worker.blackbox.failures import AskFailure, PassingFailure, PersonNeeded, PromptFailure, Reason
from worker.blackbox.openai_failures import failure_of

REQUEST = httpx2.Request("POST", "http://judge/v1/chat/completions")


def answered(status: int) -> httpx2.Response:
    return httpx2.Response(status, request=REQUEST)


def of_status(kind: type[openai.APIStatusError], status: int) -> openai.APIStatusError:
    return kind("no", response=answered(status), body=None)


EXAMPLES: dict[type[openai.APIError], tuple[openai.APIError, Reason]] = {
    openai.APIError: (openai.APIError("odd", REQUEST, body=None), Reason.NOT_OPENAI),
    openai.APIResponseValidationError: (
        openai.APIResponseValidationError(answered(200), None),
        Reason.NOT_OPENAI,
    ),
    openai.APIConnectionError: (
        openai.APIConnectionError(request=REQUEST),
        Reason.CONNECT_ERROR,
    ),
    openai.APITimeoutError: (openai.APITimeoutError(REQUEST), Reason.TIMEOUT),
    openai.APIStatusError: (of_status(openai.APIStatusError, 418), Reason.BAD_REQUEST),
    openai.BadRequestError: (of_status(openai.BadRequestError, 400), Reason.BAD_REQUEST),
    openai.AuthenticationError: (
        of_status(openai.AuthenticationError, 401),
        Reason.CREDENTIAL_REJECTED,
    ),
    openai.OAuthError: (
        openai.OAuthError(response=answered(401), body=None),
        Reason.CREDENTIAL_REJECTED,
    ),
    openai.PermissionDeniedError: (
        of_status(openai.PermissionDeniedError, 403),
        Reason.CREDENTIAL_REJECTED,
    ),
    openai.NotFoundError: (of_status(openai.NotFoundError, 404), Reason.MODEL_NOT_FOUND),
    openai.ConflictError: (of_status(openai.ConflictError, 409), Reason.SERVER_ERROR),
    openai.UnprocessableEntityError: (
        of_status(openai.UnprocessableEntityError, 422),
        Reason.BAD_REQUEST,
    ),
    openai.RateLimitError: (of_status(openai.RateLimitError, 429), Reason.RATE_LIMITED),
    openai.InternalServerError: (of_status(openai.InternalServerError, 500), Reason.SERVER_ERROR),
}


def family(kind: type[openai.APIError]) -> set[type[openai.APIError]]:
    return {kind}.union(*(family(child) for child in kind.__subclasses__()))


def test_every_exception_of_the_package_has_an_example_here() -> None:
    ours = {kind for kind in family(openai.APIError) if kind.__module__.startswith("openai")}
    assert ours == set(EXAMPLES)


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
def test_every_exception_of_the_package_is_translated(kind: type[openai.APIError]) -> None:
    error, reason = EXAMPLES[kind]
    assert failure_of(error).reason is reason


@pytest.mark.parametrize(
    ("cause", "paid"),
    [
        (httpx2.ConnectError("refused"), False),
        (httpx2.ConnectTimeout("slow"), False),
        (httpx2.PoolTimeout("full"), False),
        (httpx2.ReadError("reset"), True),
        (httpx2.RemoteProtocolError("half"), True),
    ],
)
def test_only_a_post_that_may_have_arrived_may_have_been_paid(cause: Exception, paid: bool) -> None:
    error = openai.APIConnectionError(request=REQUEST)
    error.__cause__ = cause
    failure = failure_of(error)
    assert failure.reason is Reason.CONNECT_ERROR
    assert failure.maybe_paid is paid


def test_every_reason_belongs_to_one_failure_and_every_failure_says_what_to_do() -> None:
    kinds = [
        kind
        for branch in (PassingFailure, PersonNeeded, PromptFailure)
        for kind in branch.__subclasses__()
    ]
    assert sorted(kind.reason for kind in kinds) == sorted(Reason)
    assert {kind for kind in kinds if kind.retryable} == set(PassingFailure.__subclasses__())
    assert {PassingFailure, PersonNeeded, PromptFailure} == set(AskFailure.__subclasses__())
