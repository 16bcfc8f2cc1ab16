"""What a job asked of its judge, by stage."""

from fastapi.testclient import TestClient
from sqlalchemy import Engine

from app.core.db import transaction
from app.core.models import DEFAULT_WORKSPACE, JudgeCall, JudgeQuestion, RankingRow
from tests import factories


def test_posts_reuses_faults_tokens_and_money_are_told_by_stage(
    client: TestClient, engine: Engine
) -> None:
    job = factories.job(engine)
    asked = [
        ("align", 0, "post", "done", False),
        ("align", 1, "post", "timeout", False),
        ("align", 2, "post", "done", True),
        ("align", 3, "post", None, False),
        ("align", 4, "reuse", "done", False),
        ("held_out_before", 0, "post", "done", False),
    ]
    with transaction(engine) as session:
        for n, (stage, step, kind, outcome, ambiguous) in enumerate(asked):
            at = {"job_id": job.id, "stage": stage, "step": step, "iteration": 0, "key": f"{n}"}
            session.add(
                JudgeCall(**at, try_=1, attempt=1, kind=kind, outcome=outcome, ambiguous=ambiguous)
            )
            session.add(
                JudgeQuestion(
                    workspace_id=DEFAULT_WORKSPACE, key=f"{n}", state="done", judge="j",
                    question_sha256="", request={}, token=1,
                    job_id=job.id, tokens_in=100, cached_tokens_in=40, tokens_out=10,
                    cost_micros=21, currency="USD",
                )
            )  # fmt: skip
        for step, fault in enumerate(["refused", "truncated", "refused", None]):
            session.add(
                RankingRow(
                    job_id=job.id, stage="align", step=step, iteration=0, round=1, outcome="x",
                    white_box=[], presented=[], fault=fault,
                )
            )  # fmt: skip
    aligned, before = client.get(f"/v1/jobs/{job.id}/usage").json()["data"]
    assert aligned == {
        "stage": "align",
        "posts": {"done": 2, "timeout": 1, "in_flight": 1},
        "reuses": 1,
        "extra_paid": 1,
        "faults": {"refused": 2, "truncated": 1},
        "tokens_in": 200,
        "cached_tokens_in": 80,
        "tokens_out": 20,
        "cost_micros": 42,
        "currency": "USD",
    }
    assert (before["stage"], before["posts"], before["cost_micros"]) == (
        "held_out_before",
        {"done": 1},
        21,
    )
