"""All tables, under the names by which the other rooms import them."""

from app.core.models.base import DEFAULT_WORKSPACE, Base
from app.core.models.checkpoint import ArtifactChunk, Checkpoint
from app.core.models.dataset import Dataset, DatasetIssue, DatasetRow
from app.core.models.idempotency import AnsweredRequest
from app.core.models.ids import new_id
from app.core.models.job import (
    ALIGNMENT,
    EVALUATION,
    EXPERIMENT,
    LEASED,
    TERMINAL,
    Act,
    Attempt,
    Job,
    JobEvent,
    JobPrompt,
    State,
    after,
    allowed_actions,
    log_event,
)
from app.core.models.judging import JudgeCall, JudgeLimit, JudgeQuestion
from app.core.models.queries import next_jobs, run_rows
from app.core.models.run import (
    REWOUND,
    AgreementRow,
    ComparisonRow,
    DemonstrationRow,
    Metric,
    RankingRow,
    Response,
    ScoreRow,
)
from app.core.models.vote import Vote
from app.core.models.worker import WorkerRow

__all__ = [
    "ALIGNMENT",
    "DEFAULT_WORKSPACE",
    "EVALUATION",
    "EXPERIMENT",
    "LEASED",
    "REWOUND",
    "TERMINAL",
    "Act",
    "AgreementRow",
    "AnsweredRequest",
    "ArtifactChunk",
    "Attempt",
    "Base",
    "Checkpoint",
    "ComparisonRow",
    "Dataset",
    "DatasetIssue",
    "DatasetRow",
    "DemonstrationRow",
    "Job",
    "JobEvent",
    "JobPrompt",
    "JudgeCall",
    "JudgeLimit",
    "JudgeQuestion",
    "Metric",
    "RankingRow",
    "Response",
    "ScoreRow",
    "State",
    "Vote",
    "WorkerRow",
    "after",
    "allowed_actions",
    "log_event",
    "new_id",
    "next_jobs",
    "run_rows",
]
