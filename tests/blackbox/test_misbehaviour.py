"""An endpoint's misbehaviour: what becomes of it, and exactly how many posts it costs."""

import email.utils
import time

import pytest

from tests.blackbox.asker import Asker, asking
from tests.blackbox.questions import AT, QUESTION
from tests.judge_server import (
    Act,
    JudgeServer,
    drips,
    drops_after_headers,
    drops_at_once,
    endless,
    half_a_body,
    hangs,
    html,
    packed,
    redirects,
    running_judge,
    says,
    sends,
    status,
)
from worker.blackbox.asking import rank
from worker.blackbox.failures import (
    AskFailure,
    PersonNeeded,
    RateLimited,
    Reason,
    TimedOut,
)
from worker.blackbox.openai import OpenAiBox, OpenAiEndpoint
from worker.cycle.types import Fault, Malformed, Ranked, Unanswered


def failing(reason: Reason, posts: int, act: Act, name: str) -> object:
    return pytest.param(act, reason, posts, id=name)


@pytest.mark.parametrize(
    ("act", "reason", "posts"),
    [
        failing(Reason.RATE_LIMITED, 6, status(429), "429"),
        failing(Reason.SERVER_ERROR, 6, status(500), "500"),
        failing(Reason.SERVER_ERROR, 6, status(503), "503"),
        failing(Reason.SERVER_ERROR, 6, status(409), "409"),
        failing(Reason.TIMEOUT, 2, status(408), "408"),
        failing(Reason.TIMEOUT, 2, status(504), "504"),
        failing(Reason.CONNECT_ERROR, 2, drops_at_once, "drop before the answer"),
        failing(Reason.CONNECT_ERROR, 2, drops_after_headers, "drop after headers"),
        failing(Reason.CONNECT_ERROR, 2, half_a_body, "half a body"),
        failing(Reason.QUOTA_EXHAUSTED, 1, status(429, code="insufficient_quota"), "quota"),
        failing(Reason.QUOTA_EXHAUSTED, 1, status(402), "402"),
        failing(Reason.CREDENTIAL_REJECTED, 1, status(401), "401"),
        failing(Reason.CREDENTIAL_REJECTED, 1, status(403), "403"),
        failing(Reason.MODEL_NOT_FOUND, 1, status(404), "404"),
        failing(Reason.REDIRECT_REFUSED, 1, redirects("http://127.0.0.1:9/v1"), "307"),
        failing(Reason.REDIRECT_REFUSED, 1, redirects("http://127.0.0.1:9/v1", 302), "302"),
        failing(Reason.BAD_REQUEST, 1, status(400), "400"),
        failing(Reason.BAD_REQUEST, 1, status(413), "413"),
        failing(Reason.BAD_REQUEST, 1, status(422), "422"),
        failing(Reason.NOT_OPENAI, 1, html(), "html"),
        failing(Reason.NOT_OPENAI, 1, sends(b'{"choices": ['), "broken json"),
        failing(Reason.NOT_OPENAI, 1, sends(b"[" * 100_000), "deep json"),
        failing(Reason.NOT_OPENAI, 1, sends(b"\xff\xfe\xff"), "no text"),
        failing(Reason.NOT_OPENAI, 1, sends(b"[]"), "a list"),
        failing(Reason.NOT_OPENAI, 1, sends(b""), "nothing"),
        failing(Reason.NOT_OPENAI, 1, sends(b'{"choices": []}'), "no choice"),
        failing(Reason.NOT_OPENAI, 1, sends(b'{"choices": [{"message": 1}]}'), "odd message"),
        failing(Reason.NOT_OPENAI, 1, sends(b'{"error": {"code": 429}}'), "an error with 200"),
        failing(Reason.NOT_OPENAI, 1, sends(b" " * 2_000_000), "2 MB"),
        failing(Reason.NOT_OPENAI, 1, endless, "endless"),
        failing(Reason.NOT_OPENAI, 1, packed, "gzip bomb"),
    ],
)
def test_each_failure_has_its_name_and_its_number_of_posts(
    judge: JudgeServer, asker: Asker, act: Act, reason: Reason, posts: int
) -> None:
    judge.otherwise = act
    with pytest.raises(AskFailure) as raised:
        asker.ask()
    assert raised.value.reason is reason
    assert len(judge.posts) == posts
    assert len(asker.waits) == posts - 1


@pytest.mark.parametrize("act", [hangs, drips])
def test_a_judge_that_does_not_come_to_an_end_is_asked_twice(judge: JudgeServer, act: Act) -> None:
    judge.otherwise = act
    with asking(judge, timeout_seconds=0.4) as asker, pytest.raises(TimedOut) as raised:
        asker.ask()
    assert raised.value.maybe_paid
    assert len(judge.posts) == 2


def test_a_burst_of_errors_is_sat_out(judge: JudgeServer, asker: Asker) -> None:
    judge.script.extend([status(500), status(503), status(429)])
    assert asker.ask().finish == "stop"
    assert len(judge.posts) == 4


def test_nobody_listening_is_tried_six_times_without_a_post() -> None:
    with running_judge() as gone:
        url = gone.url
    box = OpenAiBox(OpenAiEndpoint(url, "fake-judge"))
    asker = Asker(box)
    with pytest.raises(AskFailure) as raised:
        asker.ask()
    box.close()
    assert raised.value.reason is Reason.CONNECT_ERROR
    assert not raised.value.maybe_paid
    assert len(asker.waits) == 5


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("0", 0, 1),
        ("5", 5, 6),
        ("300", 300, 301),
        ("-7", 0, 1),
        ("soon", 0, 1),
        ("nan", 0, 1),
    ],
)
def test_a_retry_after_is_waited_for(
    judge: JudgeServer, asker: Asker, header: str, least: float, most: float
) -> None:
    judge.script.append(status(429, headers={"retry-after": header}))
    asker.ask()
    assert len(judge.posts) == 2
    [wait] = asker.waits
    assert least <= wait <= most


def test_a_retry_after_may_be_a_date(judge: JudgeServer, asker: Asker) -> None:
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    judge.script.append(status(429, headers={"retry-after": date}))
    asker.ask()
    [wait] = asker.waits
    assert 50 <= wait <= 101


def test_a_wait_beyond_ten_minutes_is_left_to_the_job(judge: JudgeServer, asker: Asker) -> None:
    judge.otherwise = status(429, headers={"retry-after": "3600"})
    with pytest.raises(RateLimited) as raised:
        rank(asker.box, AT, QUESTION, asker)
    assert raised.value.retry_after == 3600
    assert len(judge.posts) == 1


@pytest.mark.parametrize(
    ("act", "fault"),
    [
        (says('{"ranking": [0, 1]}'), Fault.MISSING),
        (says('{"ranking": [0, 0, 1, 2]}'), Fault.DUPLICATE),
        (says('{"ranking": [0, 1, 2, 99]}'), Fault.FOREIGN),
        (says("The first one."), Fault.NOT_JSON),
        (says('{"order": [0, 1, 2]}'), Fault.NO_RANKING),
        (says(""), Fault.EMPTY),
        (says(None), Fault.EMPTY),
        (says(None, refusal="I would rather not."), Fault.REFUSED),
        (says('{"ranking": [0, 1, 2]}', finish="length"), Fault.TRUNCATED),
        (says(None, finish="content_filter"), Fault.CONTENT_FILTER),
    ],
)
def test_a_reply_of_no_use_costs_one_more_post_and_is_a_value(
    judge: JudgeServer, asker: Asker, act: Act, fault: Fault
) -> None:
    judge.otherwise = act
    verdict = rank(asker.box, AT, QUESTION, asker)
    assert isinstance(verdict, Malformed)
    assert verdict.fault is fault
    assert len(judge.posts) == 2
    assert fault in judge.posts[1].body["messages"][-1]["content"]


def test_the_judge_may_mend_its_reply(judge: JudgeServer, asker: Asker) -> None:
    judge.script.append(says('{"ranking": [0, 1]}'))
    verdict = rank(asker.box, AT, QUESTION, asker)
    assert isinstance(verdict, Ranked)
    assert verdict.ranking == ((1,), (2,), (0,))
    assert "not ranked: 2" in judge.posts[1].body["messages"][-1]["content"]


def test_a_failure_that_may_pass_leaves_the_prompt_unanswered(
    judge: JudgeServer, asker: Asker
) -> None:
    judge.otherwise = status(500)
    verdict = rank(asker.box, AT, QUESTION, asker)
    assert isinstance(verdict, Unanswered)
    assert verdict.reason == "server_error"


def test_a_failure_that_needs_a_person_stops_the_run(judge: JudgeServer, asker: Asker) -> None:
    judge.otherwise = status(401)
    with pytest.raises(PersonNeeded):
        rank(asker.box, AT, QUESTION, asker)
