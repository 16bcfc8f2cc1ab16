"""Any OpenAI-compatible chat endpoint as a judge, one wire post an ask."""

from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import urlsplit

import httpx2
import openai

from worker.blackbox.completions import read_completion
from worker.blackbox.failures import AskFailure, BadRequest
from worker.blackbox.openai_failures import failure_of
from worker.blackbox.prompted import prompted_request, read_prompted, reply_schema
from worker.blackbox.types import Request, written
from worker.blackbox.wire import guarded_client
from worker.cycle.canonical import storable
from worker.cycle.ports import Traits
from worker.cycle.types import Malformed, Question, Ranked, Reply

MAX_DETAIL = 500
_STRUCTURED_HINT = " (an endpoint without `response_format` wants `structured = false`)"


@dataclass(frozen=True)
class OpenAiEndpoint:
    """Where and how to ask."""

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    """Goes into the header of each post and nowhere else."""
    structured: bool = True
    """Ask for a JSON schema. An endpoint that knows none answers 400; we never fall back unseen."""
    temperature: float | None = 0.0
    max_tokens: int = 512
    timeout_seconds: float = 120.0
    tries: int = 6
    allow_ties: bool = True


class OpenAiBox:
    """An endpoint, asked with our own client and without the package's retries."""

    traits: ClassVar[Traits] = Traits(
        reads_demonstrations=True, writes_response=True, gives_ties=True, gives_scores=False
    )

    def __init__(self, endpoint: OpenAiEndpoint) -> None:
        """Open no connection yet.

        Raises:
            ValueError: the address holds a user, a query or a fragment, where secrets hide.
        """
        address = urlsplit(endpoint.base_url)
        if address.username or address.password or address.query or address.fragment:
            raise ValueError("a judge's base_url holds no user, query or fragment")
        self.tries = endpoint.tries
        self._endpoint = endpoint
        self._client = openai.OpenAI(
            api_key="set by the transport",  # the package insists on one
            base_url=endpoint.base_url,
            max_retries=0,
            http_client=guarded_client(endpoint.api_key, endpoint.timeout_seconds),
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def request(self, question: Question, reask: tuple[str, Malformed] | None = None) -> Request:
        """The ranking prompt, for this endpoint and model."""
        endpoint = self._endpoint
        return prompted_request(
            question,
            reask,
            judge={
                "type": "openai",
                "base_url": endpoint.base_url.rstrip("/"),
                "model": endpoint.model,
            },
            parameters=self._parameters(question),
            allow_ties=endpoint.allow_ties,
        )

    def ask(self, request: Request) -> Reply:
        """Post the request as it stands, once.

        Raises:
            AskFailure: no chat completion came; its detail never holds the credential.
        """
        body = {
            "model": request.judge["model"],
            "messages": written(request.messages),
            **request.parameters,
        }
        try:
            response = self._client.post("/chat/completions", body=body, cast_to=httpx2.Response)
            return read_completion(response.content)
        except openai.APIError as error:
            raise self._told(failure_of(error)) from error
        except AskFailure as failure:
            raise self._told(failure) from None

    def read(self, reply: Reply, question: Question) -> Ranked | Malformed:
        """Read strictly, structured output or not."""
        return read_prompted(reply, question, allow_ties=self._endpoint.allow_ties)

    def _parameters(self, question: Question) -> dict[str, object]:
        endpoint = self._endpoint
        parameters: dict[str, object] = {"max_tokens": endpoint.max_tokens}
        if endpoint.temperature is not None:
            parameters["temperature"] = endpoint.temperature
        schema = reply_schema(question, allow_ties=endpoint.allow_ties)
        if endpoint.structured and schema is not None:
            parameters["response_format"] = {
                "type": "json_schema",
                "json_schema": {
                    "name": "ranking" if question.form == "rank" else "verdict",
                    "strict": True,
                    "schema": schema,
                },
            }
        return parameters

    def _told(self, failure: AskFailure) -> AskFailure:
        """The same failure with a detail fit to be stored: short, printable, without the key."""
        detail = failure.detail
        if self._endpoint.api_key:
            detail = detail.replace(self._endpoint.api_key, "[credential]")
        detail = storable(detail)[:MAX_DETAIL]
        if isinstance(failure, BadRequest) and self._endpoint.structured:
            detail += _STRUCTURED_HINT
        return type(failure)(detail, retry_after=failure.retry_after, maybe_paid=failure.maybe_paid)
