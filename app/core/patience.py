"""How often a job may meet an error: its own a few times in a row, others as long as they last."""

from collections.abc import Mapping
from typing import Any

from app.core.room import STORAGE_FULL
from app.core.settings import get_settings

CHECKPOINT_CORRUPT = "checkpoint_corrupt"
"""Each time the checkpoint before is used, so this ends at the start of the run at the latest."""
JUDGE_AWAY = frozenset({"judge_endpoint_down", "judge_rate_limited"})
"""The judge does not answer, or asks for a wait that nobody should sit through."""
OUT_OF_MEMORY = "out_of_memory"
MEMORY_TRIES = 2
"""What does not fit into a fresh process either does not fit."""


def counts(error: Mapping[str, Any] | None) -> bool:
    """Whether the error is one of those that fail a job in the end."""
    return _code(error) not in {STORAGE_FULL, CHECKPOINT_CORRUPT} | JUDGE_AWAY


def most_failures(error: Mapping[str, Any] | None) -> int:
    """Return how many own errors in a row, of which this is the last, fail a job."""
    most = get_settings().max_failures
    return min(most, MEMORY_TRIES) if _code(error) == OUT_OF_MEMORY else most


def wait_seconds(error: Mapping[str, Any] | None, usual: float) -> float:
    """Return how long to wait before the next attempt, `usual` if nothing speaks for longer."""
    code, settings = _code(error), get_settings()
    if code in JUDGE_AWAY:
        return settings.judge_outage_seconds
    return settings.storage_wait_seconds if code == STORAGE_FULL else usual


def _code(error: Mapping[str, Any] | None) -> str | None:
    return (error or {}).get("code")
