"""A request that names itself is carried out once, and answered alike however often it is sent."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, func, select, update
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.db import transaction
from app.core.models import AnsweredRequest, Job
from app.core.settings import Settings
from app.dispatcher import clean
from app.services.idempotency import KEPT, Named, hold
from tests import factories
from tests.api.asking import is_problem, spec

KEY = "Idempotency-Key"


def send(client: TestClient, path: str, key: str, body: Any = None) -> Any:
    return client.post(path, json=body, headers={KEY: key})


def jobs(engine: Engine) -> int:
    with transaction(engine) as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


def test_sent_again_it_is_the_same_job(client: TestClient, engine: Engine) -> None:
    body = spec(factories.dataset(engine).id)
    first, second = (send(client, "/v1/jobs", "mine", body) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert second.json() == first.json()
    assert second.headers["Location"] == first.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert second.headers["X-Request-ID"] != first.headers["X-Request-ID"]
    assert jobs(engine) == 1


def test_sent_fifty_times_at_once_it_is_one_job(client: TestClient, engine: Engine) -> None:
    body = spec(factories.dataset(engine).id)
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: send(client, "/v1/jobs", "mine", body), range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert jobs(engine) == 1


def test_without_a_key_or_with_another_one_it_is_another_job(
    client: TestClient, engine: Engine
) -> None:
    body = spec(factories.dataset(engine).id)
    sent = [client.post("/v1/jobs", json=body) for _ in range(2)]
    sent += [send(client, "/v1/jobs", key, body) for key in ("mine", "yours")]
    assert len({answer.json()["id"] for answer in sent}) == jobs(engine) == 4


def test_a_key_names_one_request(client: TestClient, engine: Engine) -> None:
    dataset = factories.dataset(engine).id
    known = send(client, "/v1/jobs", "mine", spec(dataset, seed=1)).json()["id"]
    other = send(client, "/v1/jobs", "mine", spec(dataset, seed=2))
    assert "new key" in is_problem(other, 422, "idempotency_key_reused")["detail"]
    reordered = dict(reversed(spec(dataset, seed=1).items()))
    assert send(client, "/v1/jobs", "mine", reordered).json()["id"] == known
    clone = send(client, f"/v1/jobs/{known}/clone", "mine")
    assert clone.status_code == 202
    assert jobs(engine) == 2


def test_what_was_refused_may_be_mended_under_its_key(client: TestClient, engine: Engine) -> None:
    dataset = factories.dataset(engine).id
    refused = send(client, "/v1/jobs", "mine", spec(dataset, seed="three"))
    assert refused.status_code == 422
    mended = send(client, "/v1/jobs", "mine", spec(dataset, seed=3))
    assert mended.status_code == 202
    assert jobs(engine) == 1


@pytest.mark.parametrize("key", ["", "a" * 256, "two words", "tab\there"])
def test_a_key_is_short_and_visible(client: TestClient, key: str) -> None:
    answer = client.post("/v1/jobs", json={}, headers={KEY: key})
    is_problem(answer, 400, "invalid_idempotency_key")


def test_while_the_first_is_under_way_the_next_may_come_later(
    client: TestClient, engine: Engine
) -> None:
    body = spec(factories.dataset(engine).id)
    with transaction(engine) as session:
        assert hold(session, Named("ws_default", "/v1/jobs", "mine", ""))
        answer = send(client, "/v1/jobs", "mine", body)
        is_problem(answer, 409, "request_in_progress")
        assert int(answer.headers["Retry-After"]) > 0
    assert send(client, "/v1/jobs", "mine", body).status_code == 202


class DiesOnce:
    """The application, whose process dies when it has committed and is about to answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.died = app, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def dying(message: Message) -> None:
            if not self.died:
                self.died = True
                raise ConnectionResetError
            await send(message)

        await self.app(scope, receive, dying if scope["type"] == "http" else send)


def test_an_api_that_dies_before_it_answers_has_made_one_job(app: FastAPI, engine: Engine) -> None:
    body = spec(factories.dataset(engine).id)
    with TestClient(DiesOnce(app)) as client:
        with pytest.raises(ConnectionResetError):
            send(client, "/v1/jobs", "mine", body)
        assert jobs(engine) == 1
        again = send(client, "/v1/jobs", "mine", body)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert jobs(engine) == 1


def test_an_answer_is_kept_for_a_day(
    client: TestClient, engine: Engine, settings: Settings
) -> None:
    body = spec(factories.dataset(engine).id)
    first = send(client, "/v1/jobs", "mine", body).json()["id"]
    _age(engine, KEPT - timedelta(minutes=1))
    clean(engine, settings)
    assert send(client, "/v1/jobs", "mine", body).json()["id"] == first
    _age(engine, timedelta(minutes=1))
    clean(engine, settings)
    assert send(client, "/v1/jobs", "mine", body).json()["id"] != first


def _age(engine: Engine, by: timedelta) -> None:
    with transaction(engine) as session:
        session.execute(update(AnsweredRequest).values(created_at=AnsweredRequest.created_at - by))
