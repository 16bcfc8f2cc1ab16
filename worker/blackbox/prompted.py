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
from worker.cycle.types import Dialogue, Fault, Malformed, Question, Ranked, Reply


def prompted_request(
    question: Question,
    reask: tuple[str, Malformed] | None,
    *,
    judge: Mapping[str, object],
    parameters: Mapping[str, object],
    allow_ties: bool,
) -> Request:
    """The question as the prompt of a judge; `reask` is the last reply and what was wrong."""
    template, messages = _asked(question, allow_ties=allow_ties)
    if reask is not None and question.form != "answer":  # an answer has no form to be told of
        raw, malformed = reask
        messages = reask_messages(messages, raw, malformed)
    return Request(judge, template, storable_dialogue(messages), parameters)


def _asked(question: Question, *, allow_ties: bool) -> tuple[str, Dialogue]:
    """The version of the template, and what the model reads."""
    match question.form:
        case "rank":
            return TEMPLATE_VERSION, ranking_messages(question, allow_ties=allow_ties)
        case "answer":
            return "answer-1", question.messages
        case _:
            return PAIRWISE_VERSION, pairwise_messages(question)


def reply_schema(question: Question, *, allow_ties: bool) -> dict[str, object] | None:
    """JSON schema of the reply to a question, for providers of structured output; None for text."""
    match question.form:
        case "rank":
            return ranking_schema(question, allow_ties=allow_ties)
        case "answer":
            return None
        case _:
            return pairwise_schema(question)


def read_prompted(reply: Reply, question: Question, *, allow_ties: bool) -> Ranked | Malformed:
    """Read a reply strictly; one that was cut or withheld is a fault, parsable or not."""
    if question.form == "answer" and reply.text.strip() and reply.finish != "content_filter":
        # a refusal is an answer, and one that the limit cut is what there is of it
        return Ranked((), teacher=storable(reply.text.strip()), raw=reply.text)
    unfit = _unfit(reply)
    if unfit is not None:
        return unfit
    if question.form == "answer":
        return Malformed(Fault.EMPTY, "the reply is empty", reply.text)
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
