"""An endpoint's misbehaviour: what becomes of it, and exactly how many posts it costs."""

import email.utils
import json
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.blackbox.questions import AT, QUESTION, WITH_TEACHER
from tests.judge_server import (
    TEACHER,
    Act,
    JudgeServer,
    completion,
    drips,
    drops_after_headers,
    drops_at_once,
    endless,
    half_a_body,
    hangs,
    html,
    packed,
    ranks,
    redirects,
    running_judge,
    says,
    sends,
    status,
    task_of,
)
from worker.blackbox.asking import rank
from worker.blackbox.failures import AskFailure, PersonNeeded, RateLimited, Reason, RedirectRefused
from worker.blackbox.openai import OpenAiBox, OpenAiEndpoint
from worker.blackbox.tries import with_retries
from worker.blackbox.types import Reply, Request
from worker.cycle.types import At, Fault, Malformed, Question, Ranked, Unanswered

KEY = "sk-do-not-tell-1234567890"


class Asker:
    """Counts tries as the ledger does, and notes the waits instead of waiting."""

    def __init__(self, box: OpenAiBox) -> None:
        self.box = box
        self.waits: list[float] = []

    def __call__(self, at: At, request: Request, question: Question) -> Reply:
        return with_retries(
            lambda _: self.box.ask(request),
            tries=self.box.tries,
            sleep=self.waits.append,
            jitter_seed=1,
        )

    def ask(self) -> Reply:
        return self(AT, self.box.request(QUESTION), QUESTION)


@pytest.fixture
def asker(judge: JudgeServer) -> Iterator[Asker]:
    endpoint = OpenAiEndpoint(judge.url, "fake-judge", api_key=KEY, timeout_seconds=0.4)
    box = OpenAiBox(endpoint)
    yield Asker(box)
    box.close()


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
        failing(Reason.TIMEOUT, 2, hangs, "hang"),
        failing(Reason.TIMEOUT, 2, drips, "drips for ever"),
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


def in_ten_seconds() -> str:
    return email.utils.formatdate(time.time() + 10, usegmt=True)


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("0", 0, 1),
        ("5", 5, 6),
        ("300", 300, 301),
        ("-7", 0, 1),
        ("soon", 0, 1),
        ("nan", 0, 1),
        (in_ten_seconds(), 5, 11),
    ],
    ids=["0", "5", "300", "negative", "garbage", "nan", "date"],
)
def test_a_retry_after_is_waited_for(
    judge: JudgeServer, asker: Asker, header: str, least: float, most: float
) -> None:
    judge.script.append(status(429, headers={"retry-after": header}))
    asker.ask()
    assert len(judge.posts) == 2
    [wait] = asker.waits
    assert least <= wait <= most


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


def test_a_redirect_carries_nothing_to_its_target(judge: JudgeServer, asker: Asker) -> None:
    with running_judge() as elsewhere:
        judge.otherwise = redirects(f"{elsewhere.url}/chat/completions")
        with pytest.raises(RedirectRefused, match="307"):
            asker.ask()
        assert elsewhere.posts == []


def test_a_good_answer_brings_its_usage_and_who_gave_it(asker: Asker) -> None:
    reply = asker.ask()
    assert json.loads(reply.text) == {"ranking": [1, 2, 0]}
    assert (reply.tokens_in, reply.cached_tokens_in, reply.tokens_out) == (100, 40, 10)
    assert (reply.model, reply.fingerprint, reply.finish) == ("fake-judge-1", "fp_1", "stop")


def test_a_teacher_response_comes_with_the_ranking(asker: Asker) -> None:
    verdict = rank(asker.box, AT, WITH_TEACHER, asker)
    assert isinstance(verdict, Ranked)
    assert verdict.teacher == TEACHER


@pytest.mark.parametrize("usage", [None, [], {}, {"prompt_tokens": "9", "completion_tokens": -1}])
def test_usage_that_makes_no_sense_is_unknown(
    judge: JudgeServer, asker: Asker, usage: object
) -> None:
    judge.otherwise = says('{"ranking": [0, 1, 2]}', usage=usage)
    reply = asker.ask()
    assert (reply.tokens_in, reply.cached_tokens_in, reply.tokens_out) == (None, None, None)


def test_text_that_no_database_holds_is_replaced(judge: JudgeServer, asker: Asker) -> None:
    inner = json.dumps({"ranking": [0, 1, 2], "response": "a\x00b\ud800c"})
    judge.otherwise = sends(json.dumps(completion(inner + "\x00\ud800")).encode())
    assert asker.ask().text == inner + "\ufffd\ufffd"
    judge.otherwise = sends(json.dumps(completion(inner)).encode())
    verdict = rank(asker.box, AT, WITH_TEACHER, asker)
    assert isinstance(verdict, Ranked)
    assert verdict.teacher == "a\ufffdb\ufffdc"


def test_what_is_posted_is_the_request_and_nothing_else(judge: JudgeServer, asker: Asker) -> None:
    request = asker.box.request(QUESTION)
    asker.box.ask(request)
    [post] = judge.posts
    assert post.path == "/v1/chat/completions"
    assert post.body["model"] == "fake-judge"
    assert post.body["messages"] == request.as_json()["messages"]
    assert {key: post.body[key] for key in request.parameters} == request.parameters
    assert set(post.body) == {"model", "messages", *request.parameters}
    assert post.body["response_format"]["json_schema"]["strict"] is True
    task, _ = task_of(post.body)
    assert [each["response"] for each in task["candidates"]] == list(QUESTION.responses)


def test_only_our_own_headers_leave_the_machine(
    judge: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-another-host")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-another-host")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer another\nX-Secret: another")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    box = OpenAiBox(OpenAiEndpoint(judge.url, "fake-judge"))
    box.ask(box.request(QUESTION))
    box.close()
    [post] = judge.posts
    assert "another" not in repr(post.headers)
    assert "authorization" not in post.headers
    assert set(post.headers) <= {
        "host", "accept", "accept-encoding", "content-type", "content-length", "user-agent",
    }  # fmt: skip


def test_the_key_is_sent_and_never_told(judge: JudgeServer, asker: Asker) -> None:
    judge.otherwise = status(401, message=f"Incorrect API key provided: {KEY}")
    with pytest.raises(AskFailure) as raised:
        asker.ask()
    assert judge.posts[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in raised.value.detail
    assert KEY not in repr(OpenAiEndpoint(judge.url, "fake-judge", api_key=KEY))


def test_a_detail_is_short(judge: JudgeServer, asker: Asker) -> None:
    judge.otherwise = status(500, message="x" * 100_000)
    verdict = rank(asker.box, AT, QUESTION, asker)
    assert isinstance(verdict, Unanswered)
    assert len(verdict.detail) <= 500


def test_an_endpoint_without_schemas_gets_a_hint_and_no_silent_fallback(
    judge: JudgeServer, asker: Asker
) -> None:
    judge.otherwise = status(400, message="unknown field response_format")
    verdict = rank(asker.box, AT, QUESTION, asker)
    assert isinstance(verdict, Unanswered)
    assert verdict.reason == "bad_request"
    assert "structured = false" in verdict.detail
    assert len(judge.posts) == 1


def test_without_schema_and_temperature_neither_is_sent(judge: JudgeServer) -> None:
    endpoint = OpenAiEndpoint(judge.url, "fake-judge", structured=False, temperature=None)
    box = OpenAiBox(endpoint)
    box.ask(box.request(QUESTION))
    box.close()
    assert set(judge.posts[0].body) == {"model", "messages", "max_tokens"}


@pytest.mark.parametrize(
    "url", ["http://user:word@host/v1", "http://host/v1?key=1", "http://host/v1#key"]
)
def test_an_address_with_room_for_secrets_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        OpenAiBox(OpenAiEndpoint(url, "fake-judge"))


def test_another_endpoint_model_or_setting_is_another_question() -> None:
    one = OpenAiEndpoint("http://one/v1", "a")
    others = [
        replace(one, base_url="http://other/v1"),
        replace(one, model="b"),
        replace(one, temperature=1.0),
        replace(one, max_tokens=64),
        replace(one, structured=False),
        replace(one, allow_ties=False),
    ]
    same = [replace(one, api_key="k"), replace(one, tries=1), replace(one, timeout_seconds=1)]
    keys = [key_of(endpoint) for endpoint in (one, *others)]
    assert len(set(keys)) == len(keys)
    assert {key_of(endpoint) for endpoint in same} == {keys[0]}


def key_of(endpoint: OpenAiEndpoint) -> str:
    box = OpenAiBox(endpoint)
    box.close()
    return box.request(QUESTION).key()


def test_a_tie_is_read_where_ties_are_asked_for_and_refused_where_not(judge: JudgeServer) -> None:
    judge.otherwise = says('{"ranking": [[1, 2], 0]}')
    ties = OpenAiBox(OpenAiEndpoint(judge.url, "fake-judge"))
    strict = OpenAiBox(OpenAiEndpoint(judge.url, "fake-judge", allow_ties=False))
    verdict = rank(ties, AT, QUESTION, Asker(ties))
    refused = rank(strict, AT, QUESTION, Asker(strict))
    ties.close()
    strict.close()
    assert isinstance(verdict, Ranked)
    assert verdict.ranking == ((1, 2), (0,))
    assert isinstance(refused, Malformed)


def test_the_fake_judge_ranks_by_its_rule(judge: JudgeServer, asker: Asker) -> None:
    judge.otherwise = ranks(lambda task: [each["id"] for each in task["candidates"]])
    verdict = rank(asker.box, AT, QUESTION, asker)
    assert isinstance(verdict, Ranked)
    assert verdict.ranking == ((0,), (1,), (2,))
