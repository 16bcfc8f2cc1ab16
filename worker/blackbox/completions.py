"""A chat completion as servers really write it, read without trust.

The OpenAI package builds its records without checking them, so the JSON is read here.
"""

import json
from collections.abc import Mapping
from typing import Any

from worker.blackbox.failures import NotOpenAi
from worker.cycle.canonical import storable
from worker.cycle.types import Reply

MAX_NAME = 200
MAX_TOKENS = 10**9  # the ledger's columns end soon after


def read_completion(body: bytes) -> Reply:
    """Read the first choice of a chat completion.

    A refusal becomes the text, under the finish `refusal`.

    Raises:
        NotOpenAi: it is no chat completion.
    """
    completion = _object(body)
    match completion:
        case {"choices": [{"message": dict()} as choice, *_]}:
            text, finish = _said(choice)
        case {"error": error}:
            raise NotOpenAi(f"an error with status 200: {error}", maybe_paid=True)
        case _:
            raise NotOpenAi(f"no choice with a message in {_start(body)}", maybe_paid=True)
    usage = _mapping(completion.get("usage"))
    return Reply(
        storable(text),
        finish,
        tokens_in=_count(usage.get("prompt_tokens")),
        cached_tokens_in=_count(_mapping(usage.get("prompt_tokens_details")).get("cached_tokens")),
        tokens_out=_count(usage.get("completion_tokens")),
        model=_name(completion.get("model")),
        fingerprint=_name(completion.get("system_fingerprint")),
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        completion = json.loads(body)
    except (ValueError, RecursionError):
        raise NotOpenAi(f"not JSON: {_start(body)}", maybe_paid=True) from None
    if not isinstance(completion, dict):
        raise NotOpenAi(f"not a JSON object: {_start(body)}", maybe_paid=True)
    return completion


def _said(choice: Mapping[str, Any]) -> tuple[str, str]:
    """The text and how it ended; a server that tells no ending is taken to have stopped."""
    message = choice["message"]
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal.strip():
        return refusal, "refusal"
    content = message.get("content")
    if not isinstance(content, str | None):
        raise NotOpenAi(f"the content is a {type(content).__name__}, no text", maybe_paid=True)
    return content or "", _name(choice.get("finish_reason")) or "stop"


def _start(body: bytes) -> str:
    return repr(body[:MAX_NAME].decode(errors="replace"))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else None


def _name(value: object) -> str | None:
    return storable(value)[:MAX_NAME] if isinstance(value, str) else None
