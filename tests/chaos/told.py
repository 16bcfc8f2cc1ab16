"""All that a job left behind that must not depend on how often it was killed, as hashes."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Engine, inspect, select
from sqlalchemy.orm import Session

from app.core.db import transaction
from app.core.models import REWOUND, Base, Checkpoint, Job, JobEvent, JudgeQuestion, Metric
from worker.cycle.canonical import digest

OF_THE_ROW = {"job_id", "created_at"}
"""Columns that say whose a row is and when it was written."""

OF_AN_ATTEMPT = {"created", "state", "claimed", "started", "rewound"}
"""Events that tell of the job's way through workers; a kill adds some, as it should."""

OF_THE_CLOCK = ("speed/", "time/", "memory/")
"""Metrics of the machine and of the hour."""


def told(engine: Engine, job_id: str) -> dict[str, str]:
    """Name to SHA-256 of each thing that a run leaves behind.

    The model card is left out, which names the job; of events those count that a reader of the run
    would keep: of each attempt, those up to the checkpoint that the next one started from.
    """
    with transaction(engine) as session:
        job = session.get_one(Job, job_id)
        kept = {
            "job": [job.state, job.phase, job.round, job.update, job.progress],
            "events": [_event(one) for one in _kept(_of(session, JobEvent, job_id))],
            "checkpoints": [_checkpoint(one) for one in _of(session, Checkpoint, job_id)],
            "answers": [[one.key, one.state, one.reply] for one in _answers(session)],
            **{table.__tablename__: _rows(session, table, job_id) for table in REWOUND},
        }
        return {name: digest(value) for name, value in kept.items()}


def _of(session: Session, table: Any, job_id: str) -> list[Any]:
    key = inspect(table).primary_key
    return list(session.scalars(select(table).where(table.job_id == job_id).order_by(*key)))


def _answers(session: Session) -> list[JudgeQuestion]:
    """Those of all jobs: each begins with none."""
    order = (JudgeQuestion.key, JudgeQuestion.repeat)
    return list(session.scalars(select(JudgeQuestion).order_by(*order)))


def _rows(session: Session, table: type[Base], job_id: str) -> list[dict[str, Any]]:
    names = [c.key for c in inspect(table).column_attrs if c.key not in OF_THE_ROW]
    rows = _of(session, table, job_id)
    return [{name: getattr(row, name) for name in names} for row in rows if not _of_clock(row)]


def _of_clock(row: Base) -> bool:
    return isinstance(row, Metric) and row.name.startswith(OF_THE_CLOCK)


def _checkpoint(row: Checkpoint) -> dict[str, Any]:
    files = {f["name"]: f["sha256"] for f in row.manifest["files"] if f["role"] != "card"}
    facts = ("round", "update", "steps_done", "state", "final", "metrics")
    return {"files": files} | {name: getattr(row, name) for name in facts}


def _kept(events: Iterable[JobEvent]) -> list[JobEvent]:
    kept: list[JobEvent] = []
    for event in events:
        if event.type == "claimed":
            del kept[_end(kept, event.data["checkpoint"]) :]
        elif event.type not in OF_AN_ATTEMPT:
            kept.append(event)
    return kept


def _end(kept: list[JobEvent], checkpoint_id: str | None) -> int:
    """How many events an attempt that starts from the checkpoint stands on."""
    if checkpoint_id is None:
        return 0
    ids = [event.data.get("checkpoint_id") for event in kept]
    return ids.index(checkpoint_id) + 1


def _event(event: JobEvent) -> dict[str, Any]:
    data = {name: value for name, value in event.data.items() if name != "checkpoint_id"}
    return {"type": event.type, "level": event.level, "message": event.message, "data": data}
