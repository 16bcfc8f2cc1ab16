"""Rows that tests begin with; every column may be given by name."""

import hashlib
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Engine

from app.core.db import transaction
from app.core.models import (
    Base,
    Checkpoint,
    Dataset,
    DatasetRow,
    Job,
    JudgeCall,
    JudgeQuestion,
    RankingRow,
    Response,
    new_id,
)
from app.core.storage import Store


def save(engine: Engine, *rows: Base) -> None:
    """Store rows in one transaction; their columns can be read afterwards."""
    with transaction(engine) as session:
        session.add_all(rows)
        session.flush()
        for row in rows:
            session.refresh(row)


def job(engine: Engine, **fields: Any) -> Job:
    """Store a job, queued unless said otherwise."""
    made = Job(
        **{
            "id": new_id("job"),
            "name": "test",
            "spec": {},
            "resolved": {},
            "seed": 0,
            "meta": {},
            "steps_total": 4,
            "progress": {},
            "usage": {},
            **fields,
        }
    )
    save(engine, made)
    return made


def dataset(
    engine: Engine, prompts: int = 4, *, subsets: Iterable[str | None] = (), **fields: Any
) -> Dataset:
    """Store a ready dataset of numbered prompts; `subsets` are those of its rows, in turn."""
    names = list(subsets) or [None]
    made = Dataset(
        **{
            "id": new_id("ds"),
            "name": "test",
            "kind": "prompts",
            "on_error": "reject",
            "state": "ready",
            "format": "jsonl",
            "sha256": hashlib.sha256(new_id("x").encode()).hexdigest(),
            "bytes": 1,
            "line_count": prompts,
            "row_count": prompts,
            "issue_count": 0,
            "issue_counts": {},
            "subset_counts": {},
            **fields,
        }
    )
    rows = [
        DatasetRow(
            dataset_id=made.id,
            position=position,
            line=position + 1,
            subset=names[position % len(names)],
            extra={},
            messages=[{"role": "user", "content": f"prompt {position}"}],
        )
        for position in range(prompts)
    ]
    save(engine, made)
    save(engine, *rows)
    return made


def checkpoint(engine: Engine, store: Store, files: dict[str, bytes], **fields: Any) -> Checkpoint:
    """Store a checkpoint and its files; roles and forms follow from the names."""
    checkpoint_id = new_id("ckpt")
    for name, data in files.items():
        store.write(f"{checkpoint_id}/{name}", [data])
    manifest = {"checkpoint_id": checkpoint_id, "files": [_entry(*pair) for pair in files.items()]}
    made = Checkpoint(
        **{
            "id": checkpoint_id,
            "job_id": new_id("job"),
            "round": 1,
            "update": 1,
            "steps_done": 1,
            "token": 1,
            "attempt": 1,
            "final": True,
            "manifest": manifest,
            "manifest_sha256": "0" * 64,
            "bytes": sum(map(len, files.values())),
            "metrics": {},
            **fields,
        }
    )
    save(engine, made)
    return made


def _entry(name: str, data: bytes) -> dict[str, Any]:
    top = name.split("/", maxsplit=1)[0]
    form = top if top in {"adapter", "merged"} else None
    role = "weights" if form else top if top == "training_state" else "card"
    digest = hashlib.sha256(data).hexdigest()
    return {"name": name, "bytes": len(data), "sha256": digest, "role": role, "form": form}


def ranking(job: Job, step: int = 0, iteration: int = 0, **fields: Any) -> RankingRow:
    """Make a ranking of two responses that both sides order differently."""
    return RankingRow(
        **{
            "job_id": job.id,
            "stage": "align",
            "step": step,
            "iteration": iteration,
            "round": 1,
            "outcome": "updated",
            "white_box": [[0], [1]],
            "black_box": [[1], [0]],
            "presented": [1, 0],
            **fields,
        }
    )


def response(job: Job, step: int = 0, iteration: int = 0, k: int = 0, **fields: Any) -> Response:
    """Make one response of three tokens."""
    return Response(
        **{
            "job_id": job.id,
            "stage": "align",
            "step": step,
            "iteration": iteration,
            "k": k,
            "round": 1,
            "update": 0,
            "text": f"answer {k}",
            "token_ids": [1, 2, 3],
            "logprob_sum": -3.0,
            "belief": -1.0,
            "finish": "stop",
            "seed": 1,
            **fields,
        }
    )


def judge_call(job: Job, step: int = 0, **fields: Any) -> JudgeCall:
    """Make a post of the question that `question` makes for the same step."""
    return JudgeCall(
        **{
            "job_id": job.id,
            "stage": "align",
            "step": step,
            "iteration": 0,
            "try_": 0,
            "attempt": 1,
            "key": f"{job.id}-{step}",
            "kind": "post",
            **fields,
        }
    )


def question(job: Job, step: int = 0, **fields: Any) -> JudgeQuestion:
    """Make an answered question."""
    return JudgeQuestion(
        **{
            "workspace_id": job.workspace_id,
            "key": f"{job.id}-{step}",
            "state": "done",
            "judge": "rubric",
            "question_sha256": "ab" * 32,
            "request": {"messages": ["asked"]},
            "reply": "[0, 1]",
            "tokens_in": 10,
            "tokens_out": 2,
            "cost_micros": 7,
            "job_id": job.id,
            "token": 1,
            **fields,
        }
    )
