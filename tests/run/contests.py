"""Who is compared in the tests of evaluations, what judges say of them, and what is found."""

import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine

from app.core.db import transaction
from app.core.models import Job
from app.services.reports.evaluation import EvaluationReport, evaluation_report
from tests.judge_server import Handler, says, task_of

PROMPTS = 10
TWINS = [{"label": "one", "model": "tiny"}, {"label": "two", "model": "tiny"}]


def report_of(engine: Engine, job_id: str) -> EvaluationReport:
    with transaction(engine) as session:
        return evaluation_report(session, session.get_one(Job, job_id))


def saying(verdict: Callable[[dict[str, Any]], str]) -> Callable[[Handler], None]:
    """An act that answers each task as the rule says: a verdict, or text that is none."""

    def act(handler: Handler) -> None:
        said = verdict(task_of(handler.asked)[0])
        known = said in {"first", "second", "tie"}
        says(json.dumps({"reasoning": "r", "verdict": said}) if known else said)(handler)

    return act
