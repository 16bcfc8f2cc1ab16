"""Turns every way of ending a run into an exit code, and a failure into words for the user."""

import json
from collections.abc import Callable

from sqlalchemy.exc import OperationalError

from app.core.errors import Fenced
from app.core.logging import get_logger
from worker.blackbox.failures import AskFailure
from worker.ending import FENCED, FINAL, RETRY, STOPPED
from worker.ledger.fetching import CheckpointGone, CorruptCheckpoint
from worker.rank import RankLost
from worker.whitebox.errors import Interrupted, WhiteBoxError

PASSING = {CorruptCheckpoint: "checkpoint_corrupt", RankLost: "rank_lost"}
"""Failures that an older checkpoint or new processes may mend."""


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
        case OperationalError() | OSError():
            return RETRY, "unavailable", detail.splitlines()[0]
        case _:
            return RETRY, "internal_error", f"{type(error).__name__}: {detail}"


def _lasting(error: Exception) -> str:
    gone = isinstance(error, CheckpointGone)
    return "checkpoint_gone" if gone else f"white_box_{type(error).__name__}"


def _say(code: int, name: str, detail: str) -> int:
    print(json.dumps({"code": str(name), "detail": detail[:2000]}), flush=True)  # noqa: T201 - the supervisor reads it
    return code
