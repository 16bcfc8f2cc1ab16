"""One question to a judge, from asking to verdict, over an `ask` that keeps the books."""

from collections.abc import Callable

from worker.blackbox.failures import PassingFailure, PromptFailure
from worker.blackbox.tries import outlasts
from worker.blackbox.types import BlackBox, Request
from worker.cycle.types import At, Malformed, Question, Ranked, Reply, Unanswered, Verdict

Ask = Callable[[At, Request, Question], Reply]
"""The ledger's: look the request up, else write its row, post with counted tries, settle the row.

It raises the last `AskFailure` when no answer came.
"""


def rank(box: BlackBox, at: At, question: Question, ask: Ask) -> Verdict:
    """Ask; after a malformed reply ask once more, with the fault named.

    Raises:
        PersonNeeded: quota, credential, model or address; no other prompt would fare better.
        RateLimited: the judge asks for a wait longer than anybody should sit through.
        EndpointDown: it has not answered for that long.
    """
    try:
        return _answer(box, at, question, ask)
    except (PassingFailure, PromptFailure) as failure:
        if outlasts(failure):
            raise
        return Unanswered(failure.reason, failure.detail)


def _answer(box: BlackBox, at: At, question: Question, ask: Ask) -> Ranked | Malformed:
    first = box.request(question)
    reply = ask(at, first, question)
    answer = box.read(reply, question)
    if isinstance(answer, Ranked):
        return answer
    again = box.request(question, (reply.text, answer))
    if again.key() == first.key():  # a judge that cannot be told would say the same
        return answer
    return box.read(ask(at, again, question), question)
