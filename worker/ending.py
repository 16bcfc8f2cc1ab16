"""How a runner ended, as a value: what its exit code and its last words mean for the job."""

import json
import signal
from dataclasses import dataclass
from typing import Any

from app.core.models import LEASED, Act, State
from app.core.patience import OUT_OF_MEMORY
from worker.cycle.canonical import storable

DONE, STOPPED, FENCED, RETRY, FINAL = 0, 10, 12, 20, 21
PAUSE = signal.SIGUSR1
"""Asks a runner to keep the round that ends next and to stop there."""
MAX_DETAIL = 4000
LEANER = (
    "A clone needs less with a smaller `method.concurrency`, `engine.batch_tokens` or "
    "`generation.max_new_tokens`, with `engine.checkpointing`, or with LoRA."
)
KILLED_FOR_MEMORY = f"The worker's memory was full, and the system killed the runner. {LEANER}"


@dataclass(frozen=True)
class Ending:
    """What to settle: an act, for a failure its error, and the reason for the log."""

    act: Act
    error: dict[str, Any] | None = None
    reason: str = ""

    def act_in(self, state: State) -> Act:
        """Return the act for the job as it stands: a stop that no user asked for gives back."""
        asked = state in LEASED and state is not State.RUNNING
        return Act.GIVE_BACK if self.act is Act.STOP and not asked else self.act


def ending_of(
    code: int, last_words: bytes, *, asked: bool, oom_killed: bool = False
) -> Ending | None:
    """Read the exit code (negative: a signal) of a runner; None if there is nothing to settle.

    Args:
        code: As `subprocess` returns it.
        last_words: The last line of standard output.
        asked: Whether the supervisor had asked the runner to stop or killed it for not stopping.
        oom_killed: Whether the kernel killed something for want of memory meanwhile.
    """
    if code == FENCED:
        return None
    if code == STOPPED or (asked and code < 0):
        return Ending(Act.STOP, reason="stopped")
    if code == DONE:
        detail = "The runner ended as if done, but had not settled the job."
        return Ending(Act.RETRY_LATER, _error("unsettled", detail), "unsettled")
    if code in {RETRY, FINAL}:
        error = _said(last_words)
        return Ending(Act.RETRY_LATER if code == RETRY else Act.FAIL, error, error["code"])
    if oom_killed and -code == signal.SIGKILL:
        return Ending(Act.RETRY_LATER, _error(OUT_OF_MEMORY, KILLED_FOR_MEMORY), OUT_OF_MEMORY)
    return Ending(Act.RETRY_LATER, _error("worker_lost", _death(code)), "worker_lost")


def stalled(seconds: float, phase: str | None) -> Ending:
    """Return the ending of a runner that committed nothing for so long and was killed."""
    where = f" while {phase}" if phase else ""
    detail = f"The runner committed nothing for {seconds:.0f} seconds{where} and was stopped."
    return Ending(Act.RETRY_LATER, _error("stalled", detail), "stalled")


def budget_reached() -> dict[str, Any]:
    """Return why a job pauses whose attempt has computed for as long as it may."""
    detail = "The budget's seconds of computing are used up. Raise the budget to let the job go on."
    return _error("budget_reached", detail)


def _death(code: int) -> str:
    if code >= 0:
        return f"The runner ended with the unknown exit code {code}."
    name = signal.strsignal(-code) or "unknown"
    return f"The runner was ended by signal {-code} ({name})."


def _said(last_words: bytes) -> dict[str, Any]:
    try:
        said = json.loads(last_words)
        return _error(str(said["code"]), str(said["detail"]))
    except (ValueError, KeyError, TypeError):
        return _error("runner_failed", "The runner failed without saying why; see its log.")


def _error(code: str, detail: str) -> dict[str, Any]:
    """Make an error that PostgreSQL can hold: no NUL, no lone surrogates."""
    return {"code": storable(code), "detail": storable(detail.replace("\x00", ""))[:MAX_DETAIL]}
