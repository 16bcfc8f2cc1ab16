"""The catalogue must still offer what a job was made for: no run goes on under another entry."""

from app.core.spec.catalogue import JudgeEntry, ModelEntry, entry_hash
from worker.failure import Rejected


def require_unchanged(
    kind: str, name: str, entry: ModelEntry | JudgeEntry | None, sha256: str
) -> None:
    """Raise `Rejected` if the entry is gone, or is not the one with this hash."""
    if entry is None:
        raise Rejected(f"{kind}_not_in_catalogue", f"The catalogue has no {kind} {name!r}.")
    if entry_hash(entry) != sha256:
        raise Rejected(
            "catalogue_changed",
            f"The catalogue's {kind} {name!r} is not the one that this job was made for. "
            "Restore the entry or submit the job anew.",
        )
