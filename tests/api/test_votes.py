"""People vote blind: in random order, once each, and in the same table as the judge."""

from collections import Counter
from typing import Any

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from app.core.db import transaction
from app.core.models import ComparisonRow, Job, Vote
from app.services.measures.agreement import alpha
from tests import factories
from tests.api.asking import is_problem

PROMPTS = 12


@pytest.fixture
def evaluation(client: TestClient, engine: Engine) -> Job:
    """Two contestants have answered: the left one says good things."""
    body = {
        "prompts": {"dataset": factories.dataset(engine, PROMPTS).id},
        "contestants": [{"label": "a", "model": "small"}, {"label": "b", "model": "small"}],
        "pairwise": {"judge": {"name": "rubric"}},
    }
    job_id = client.post("/v1/evaluations", json=body).json()["id"]
    with transaction(engine) as session:
        job = session.get_one(Job, job_id)
        for step in range(PROMPTS):
            for who, text in enumerate(("good", "bad")):
                at = {"stage": "answer", "text": f"{text} {step}"}
                session.add(factories.response(job, step, who, 0, **at))
            for order in (0, 1):
                session.add(
                    ComparisonRow(
                        job_id=job.id, stage="compare", step=step, iteration=order, round=1,
                        left=0, right=1, swapped=bool(order), verdict="left",
                    )
                )  # fmt: skip
    return job


def ballot(client: TestClient, job: Job, rater: str) -> Any:
    return client.get(f"/v1/evaluations/{job.id}/ballot", params={"rater": rater})


def vote(client: TestClient, job: Job, shown: dict[str, Any], rater: str, verdict: str) -> Any:
    body = {"rater": rater, "step": shown["step"], "pair": shown["pair"], "verdict": verdict}
    return client.post(f"/v1/evaluations/{job.id}/votes", json=body)


def vote_on_all(client: TestClient, job: Job, rater: str, like: str) -> list[dict[str, Any]]:
    """Vote until no ballot is left, always for the answers that begin alike."""
    shown = []
    while (answer := ballot(client, job, rater)).status_code == 200:
        shown.append(answer.json())
        verdict = "first" if shown[-1]["first"].startswith(like) else "second"
        assert vote(client, job, shown[-1], rater, verdict).status_code == 201
    is_problem(answer, 404, "no_ballot")
    return shown


def test_every_rater_sees_every_pair_once_in_an_order_of_its_own(
    client: TestClient, evaluation: Job
) -> None:
    ann, bob = (vote_on_all(client, evaluation, rater, "good") for rater in ("ann", "bob"))
    assert sorted(one["step"] for one in ann) == list(range(PROMPTS))
    assert [one["step"] for one in ann] != [one["step"] for one in bob]
    assert [one["left"] for one in ann] == list(range(PROMPTS, 0, -1))
    sides = Counter(one["first"].split()[0] for one in (*ann, *bob))
    assert set(sides) == {"good", "bad"}


def test_a_ballot_does_not_tell_who_is_who(client: TestClient, evaluation: Job) -> None:
    shown = ballot(client, evaluation, "ann").json()
    assert shown.keys() == {"object", "step", "pair", "prompt", "first", "second", "left"}
    assert shown["prompt"][-1]["role"] == "user"
    assert ballot(client, evaluation, "ann").json() == shown


def test_people_and_judge_stand_in_one_report(
    client: TestClient, engine: Engine, evaluation: Job
) -> None:
    for rater, like in (("ann", "good"), ("bob", "good"), ("eve", "bad")):
        vote_on_all(client, evaluation, rater, like)
    [duel] = client.get(f"/v1/jobs/{evaluation.id}/report").json()["comparisons"]
    people = duel["people"]
    assert (people["votes"], people["raters"]) == (3 * PROMPTS, 3)
    assert (people["record"]["win"], people["record"]["lose"]) == (PROMPTS, 0)
    assert people["alpha"] < 0
    assert people["alpha_with_judge"] is None
    assert duel["record"]["win"] == PROMPTS


def test_a_vote_does_not_change(client: TestClient, engine: Engine, evaluation: Job) -> None:
    shown = ballot(client, evaluation, "ann").json()
    assert vote(client, evaluation, shown, "ann", "first").status_code == 201
    assert vote(client, evaluation, shown, "ann", "first").status_code == 200
    is_problem(vote(client, evaluation, shown, "ann", "second"), 409, "vote_differs")
    assert vote(client, evaluation, shown, "bob", "tie").status_code == 201
    with transaction(engine) as session:
        assert len(session.scalars(select(Vote)).all()) == 2


def test_a_vote_needs_answers(client: TestClient, engine: Engine, evaluation: Job) -> None:
    for step, pair in ((PROMPTS, 0), (0, 1)):
        shown = {"step": step, "pair": pair}
        is_problem(vote(client, evaluation, shown, "ann", "tie"), 404, "no_ballot")
    other = factories.job(engine)
    is_problem(ballot(client, other, "ann"), 404, "not_found")
    is_problem(ballot(client, evaluation, "no name at all"), 422, "invalid_format")


def test_alpha_is_krippendorff_s() -> None:
    """The nominal example of his 2011 paper, B: two raters, ten units, alpha 0.095."""
    ann = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    bob = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    units = [[str(a), str(b)] for a, b in zip(ann, bob, strict=True)]
    assert alpha(units) == pytest.approx(0.095, abs=5e-4)
    assert alpha([["a", "a"], ["b", "b"]]) == 1.0
    assert alpha([["a", "a"], ["a", "a"]]) is None
    assert alpha([["a"], ["b"]]) is None
