"""What goes to an endpoint, and what is read of its good answers."""

import json
from dataclasses import replace

import pytest

from tests.blackbox.asker import KEY, Asker
from tests.blackbox.questions import AT, QUESTION, WITH_TEACHER
from tests.judge_server import (
    TEACHER,
    JudgeServer,
    completion,
    ranks,
    redirects,
    running_judge,
    says,
    sends,
    status,
    task_of,
)
from worker.blackbox.asking import rank
from worker.blackbox.failures import (
    AskFailure,
    RedirectRefused,
)
from worker.blackbox.openai import OpenAiBox, OpenAiEndpoint
from worker.cycle.types import Malformed, Ranked, Unanswered


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
