"""How language models are asked, and how their replies are understood."""

from collections.abc import Mapping
from dataclasses import replace

from worker.blackbox.types import Request, storable_dialogue
from worker.cycle.canonical import storable
from worker.cycle.prompts import (
    TEMPLATE_VERSION,
    parse_reply,
    ranking_messages,
    reask_messages,
)
from worker.cycle.types import Fault, Malformed, Question, Ranked, Reply


def prompted_request(
    question: Question,
    reask: tuple[str, Malformed] | None,
    *,
    judge: Mapping[str, object],
    parameters: Mapping[str, object],
    allow_ties: bool,
) -> Request:
    """The question as the prompt of a judge; `reask` is the last reply and what was wrong."""
    messages = ranking_messages(question, allow_ties=allow_ties)
    if reask is not None:
        raw, malformed = reask
        messages = reask_messages(messages, raw, malformed)
    return Request(judge, TEMPLATE_VERSION, storable_dialogue(messages), parameters)


def read_prompted(reply: Reply, question: Question, *, allow_ties: bool) -> Ranked | Malformed:
    """Read a reply strictly; one that was cut or withheld is a fault, parsable or not."""
    unfit = _unfit(reply)
    if unfit is not None:
        return unfit
    answer = parse_reply(
        reply.text,
        len(question.responses),
        wants_response=question.wants_response,
        allow_ties=allow_ties,
    )
    if isinstance(answer, Ranked) and answer.teacher is not None:
        return replace(answer, teacher=storable(answer.teacher))
    return answer


def _unfit(reply: Reply) -> Malformed | None:
    match reply.finish:
        case "length":
            return Malformed(Fault.TRUNCATED, "the token limit cut the reply", reply.text)
        case "content_filter":
            return Malformed(Fault.CONTENT_FILTER, "a filter withheld the reply", reply.text)
        case "refusal":
            return Malformed(Fault.REFUSED, "the task was refused", reply.text)
        case _:
            return None
