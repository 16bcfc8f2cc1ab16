"""The judge over real HTTP, in its own process: what is keyed, and that calls overlap."""

import asyncio
import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing
from statistics import fmean
from urllib.parse import urlsplit

import pytest

from benchmarks.judge import JudgeClient, Manner, running_judge
from worker.cycle.prompts import parse_reply, ranking_messages
from worker.cycle.types import Message, Question, Ranked

DIALOGUE = (Message("user", "Why is the sky blue?"),)
TEXTS = ("one", "two", "three", "four")


@pytest.fixture(scope="module")
def judge() -> Iterator[str]:
    with running_judge(0.0) as url:
        yield url


def post(url: str, path: str, body: str) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    connection.request("POST", path, body)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    return response.status, answer


def test_a_ranking_is_keyed_by_texts_and_not_by_their_order(judge: str) -> None:
    with closing(JudgeClient(judge)) as client:
        ranking = client.ask(DIALOGUE, TEXTS)
        turned = client.ask(DIALOGUE, TEXTS[::-1])
        others = {client.ask((Message("user", str(i)),), TEXTS) for i in range(20)}
    assert sorted(ranking) == [0, 1, 2, 3]
    assert [TEXTS[k] for k in ranking] == [TEXTS[::-1][k] for k in turned]
    assert client.calls == 22
    assert len(others) > 5


def test_it_reads_the_ranking_prompt_of_the_service(judge: str) -> None:
    messages = ranking_messages(Question(DIALOGUE, TEXTS), allow_ties=False)
    turns = [{"role": turn.role, "content": turn.content} for turn in messages]
    status, body = post(judge, "/v1/chat/completions", json.dumps({"messages": turns}))
    text = json.loads(body)["choices"][0]["message"]["content"]
    answer = parse_reply(text, 4, wants_response=False, allow_ties=False)
    assert status == 200
    assert isinstance(answer, Ranked)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/models", "{}", 404),
        ("/v1/chat/completions", "not json", 400),
        ("/v1/chat/completions", '{"messages": []}', 400),
    ],
)
def test_what_is_no_task_is_refused(judge: str, path: str, body: str, status: int) -> None:
    assert post(judge, path, body)[0] == status


def test_the_score_mode_ranks_by_the_rubric() -> None:
    good = "The sky is blue because air scatters blue light from the sun more than red light does."
    with running_judge(0.0, mode="score") as url, closing(JudgeClient(url)) as client:
        assert client.ask(DIALOGUE, ["no", "blue blue blue blue blue blue", good])[0] == 2


def test_calls_overlap() -> None:
    async def ask_all(client: JudgeClient) -> list[tuple[int, ...]]:
        asked = [client.ask_async((Message("user", str(i)),), TEXTS) for i in range(16)]
        return await asyncio.gather(*asked)

    with running_judge(0.2) as url, closing(JudgeClient(url)) as client:
        since = time.perf_counter()
        rankings = asyncio.run(ask_all(client))
        took = time.perf_counter() - since
    assert len(rankings) == 16
    assert took < 16 * 0.2 / 2


def test_latency_is_keyed_by_request_and_seed() -> None:
    bodies = [str(i).encode() for i in range(2000)]
    latencies = [Manner(0.5).latency(body) for body in bodies]
    assert latencies == [Manner(0.5).latency(body) for body in bodies]
    assert latencies != [Manner(0.5, latency_seed=1).latency(body) for body in bodies]
    assert fmean(latencies) == pytest.approx(0.5, rel=0.03)
