"""What decides a job's result, as one hash: equal ones need not run twice."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.models import Job, State

NAMES = frozenset({"name", "metadata", "budget", "deadline_at"})
"""Fields of a job that do not change what it gives."""
LOST = (State.FAILED.value, State.CANCELLING.value, State.CANCELLED.value)


def config_sha256(resolved: Mapping[str, Any]) -> str:
    """Hash what a job resolved to; datasets count by their content, not by their ids."""
    decides = {name: value for name, value in resolved.items() if name not in NAMES}
    text = json.dumps(_by_content(decides), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _by_content(value: Any) -> Any:
    if isinstance(value, list):
        return [_by_content(one) for one in value]
    if not isinstance(value, dict):
        return value
    hidden = {"dataset"} if "sha256" in value else set()
    return {name: _by_content(one) for name, one in value.items() if name not in hidden}


def same_config(session: Session, job: Job) -> Job | None:
    """Find the oldest job of the workspace with the same config that has ended well, or may yet."""
    query = (
        select(Job)
        .where(
            Job.workspace_id == job.workspace_id,
            Job.config_sha256 == job.config_sha256,
            Job.state.not_in(LOST),
        )
        .order_by(Job.created_at, Job.id)
        .limit(1)
    )
    return session.scalars(query).one_or_none()
