import pytest

from tests.blackbox.questions import AT, QUESTION
from worker.blackbox.asking import rank
from worker.blackbox.failures import (
    AskFailure,
    BadRequest,
    CredentialRejected,
    ModelNotFound,
    NotOpenAi,
    NotRecorded,
    QuotaExhausted,
    RedirectRefused,
    ServerFailed,
)
from worker.blackbox.recorded import RecordedBox
from worker.blackbox.scripted import Answer, ScriptedBox, in_turn
from worker.blackbox.types import BlackBox, Request, question_digest
from worker.cycle.types import At, Fault, Malformed, Question, Ranked, Reply, Unanswered, Verdict

GOOD = '{"ranking": [2, 0, 1]}'


class Ask:
    """The plainest ledger: it only lists what it was asked."""

    def __init__(self, box: BlackBox) -> None:
        self.box = box
        self.asked: list[tuple[At, Request, Question]] = []

    def __call__(self, at: At, request: Request, question: Question) -> Reply:
        self.asked.append((at, request, question))
        return self.box.ask(request)


def verdict_on(*answers: Answer) -> tuple[Verdict, int]:
    box = ScriptedBox(in_turn(answers))
    return rank(box, AT, QUESTION, Ask(box)), len(box.posts)


def test_a_good_reply_is_asked_for_once() -> None:
    verdict, posts = verdict_on(GOOD)
    assert isinstance(verdict, Ranked)
    assert verdict.ranking == ((2,), (0,), (1,))
    assert verdict.raw == GOOD
    assert posts == 1


def test_a_malformed_reply_is_asked_about_once_more() -> None:
    verdict, posts = verdict_on("first one", GOOD)
    assert isinstance(verdict, Ranked)
    assert posts == 2


def test_the_second_malformed_reply_is_the_verdict() -> None:
    verdict, posts = verdict_on("first one", '{"ranking": [0]}', GOOD)
    assert isinstance(verdict, Malformed)
    assert verdict.fault is Fault.MISSING
    assert posts == 2


def test_a_judge_that_cannot_be_told_is_not_asked_again() -> None:
    box = RecordedBox({question_digest(QUESTION): Reply("prose", "stop")})
    ask = Ask(box)
    verdict = rank(box, AT, QUESTION, ask)
    assert isinstance(verdict, Malformed)
    assert len(ask.asked) == 1


def test_the_place_and_the_question_go_to_the_ledger_with_every_request() -> None:
    box = ScriptedBox(in_turn(["prose", GOOD]))
    ask = Ask(box)
    rank(box, AT, QUESTION, ask)
    assert [(at, question) for at, _, question in ask.asked] == [(AT, QUESTION)] * 2
    assert len({request.key() for _, request, _ in ask.asked}) == 2


@pytest.mark.parametrize("kind", [BadRequest, NotRecorded, NotOpenAi, ServerFailed])
def test_what_concerns_one_prompt_leaves_it_unanswered(kind: type[AskFailure]) -> None:
    verdict, _ = verdict_on(kind("why"))
    assert verdict == Unanswered(kind.reason, "why")


def test_a_failure_of_the_second_ask_leaves_the_prompt_unanswered_too() -> None:
    verdict, _ = verdict_on("prose", ServerFailed("down"))
    assert verdict == Unanswered("server_error", "down")


@pytest.mark.parametrize(
    "kind", [QuotaExhausted, CredentialRejected, ModelNotFound, RedirectRefused]
)
def test_what_needs_a_person_is_raised(kind: type[AskFailure]) -> None:
    with pytest.raises(kind):
        verdict_on(kind("why"))
