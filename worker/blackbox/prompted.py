"""How language models are asked, and how their replies are understood."""

from collections.abc import Mapping
from dataclasses import replace

from worker.blackbox.types import Request, storable_dialogue
from worker.cycle.canonical import storable
from worker.cycle.pairwise import (
    PAIRWISE_VERSION,
    pairwise_messages,
    pairwise_schema,
    parse_pairwise,
)
from worker.cycle.prompts import (
    TEMPLATE_VERSION,
    parse_reply,
    ranking_messages,
    ranking_schema,
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
    ranks = question.form == "rank"
    messages = (
        ranking_messages(question, allow_ties=allow_ties) if ranks else pairwise_messages(question)
    )
    if reask is not None:
        raw, malformed = reask
        messages = reask_messages(messages, raw, malformed)
    template = TEMPLATE_VERSION if ranks else PAIRWISE_VERSION
    return Request(judge, template, storable_dialogue(messages), parameters)


def reply_schema(question: Question, *, allow_ties: bool) -> dict[str, object]:
    """JSON schema of the reply to a question, for providers of structured output."""
    if question.form == "rank":
        return ranking_schema(question, allow_ties=allow_ties)
    return pairwise_schema(question)


def read_prompted(reply: Reply, question: Question, *, allow_ties: bool) -> Ranked | Malformed:
    """Read a reply strictly; one that was cut or withheld is a fault, parsable or not."""
    unfit = _unfit(reply)
    if unfit is not None:
        return unfit
    if question.form != "rank":
        return parse_pairwise(reply.text, question)
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
