"""Turns every way of ending a run into an exit code, and a failure into words for the user."""

import json
from collections.abc import Callable

import torch
from sqlalchemy.exc import DBAPIError, OperationalError

from app.core.errors import BudgetReached, Fenced, Unavailable
from app.core.logging import get_logger
from app.core.patience import CHECKPOINT_CORRUPT, OUT_OF_MEMORY
from app.core.room import is_full, no_room
from worker.blackbox.failures import AskFailure, CredentialRejected, QuotaExhausted
from worker.ending import FENCED, FINAL, LEANER, RETRY, STOPPED
from worker.ledger.fetching import CheckpointGone, CorruptCheckpoint
from worker.rank import RankLost
from worker.whitebox.errors import Interrupted, WhiteBoxError

PASSING = {CorruptCheckpoint: CHECKPOINT_CORRUPT, RankLost: "rank_lost"}
"""Failures that an older checkpoint or new processes may mend."""


PAUSING = (BudgetReached, QuotaExhausted, CredentialRejected)
"""Failures that pause a job: with more money or another key it goes on."""


class Rejected(Exception):
    """The job cannot run as it is; a retry would change nothing."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def report(work: Callable[[], int]) -> int:
    """Turn every way of ending into an exit code, and a failure into one line of JSON."""
    try:
        return work()
    except Fenced:
        return FENCED
    except Interrupted:
        return STOPPED
    except Exception as error:  # noqa: BLE001 - the process ends here and the job must learn why
        get_logger().exception("the runner failed")
        return _say(*explain(error))


def needed(error: AskFailure | BudgetReached) -> dict[str, str]:
    """Say what somebody must change before a job can go on, as a stable code and a detail."""
    if isinstance(error, BudgetReached):
        return {"code": error.code, "detail": error.detail}
    return {"code": f"judge_{error.reason}", "detail": error.detail}


def explain(error: Exception) -> tuple[int, str, str]:
    """Say for a failure: the exit code, a stable code, and a detail for the user."""
    detail = str(error) or type(error).__name__
    match error:
        case Rejected():
            return FINAL, error.code, detail
        case AskFailure():
            return (RETRY if error.retryable else FINAL), f"judge_{error.reason}", error.detail
        case CheckpointGone() | WhiteBoxError():
            return FINAL, _lasting(error), detail
        case CorruptCheckpoint() | RankLost():
            return RETRY, PASSING[type(error)], detail
        case _:
            return RETRY, *_unforeseen(error, detail)


def _unforeseen(error: Exception, detail: str) -> tuple[str, str]:
    if is_full(error):
        error = no_room(_place_of(error))
    if lacks_memory(error):
        return OUT_OF_MEMORY, f"{detail.splitlines()[0]} {LEANER}"
    match error:
        case Unavailable():
            return error.code, error.detail
        case OperationalError() | OSError():
            return "unavailable", detail.splitlines()[0]
        case _:
            return "internal_error", f"{type(error).__name__}: {detail}"


def lacks_memory(error: Exception) -> bool:
    """Whether a tensor or anything else found no room in memory."""
    on_cpu = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return on_cpu or isinstance(error, torch.OutOfMemoryError | MemoryError)


def _place_of(error: Exception) -> str:
    """The store names itself, so what else is full is the database or this machine."""
    if isinstance(error, DBAPIError):
        return "The database's disk"
    return "The worker's disk for temporary files (TMPDIR)"


def _lasting(error: Exception) -> str:
    gone = isinstance(error, CheckpointGone)
    return "checkpoint_gone" if gone else f"white_box_{type(error).__name__}"


def _say(code: int, name: str, detail: str) -> int:
    print(json.dumps({"code": str(name), "detail": detail[:2000]}), flush=True)  # noqa: T201 - the supervisor reads it
    return code
