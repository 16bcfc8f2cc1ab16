"""The real runner, observed: every write that comes from a lost lease is noted, or let through.

`python -m tests.chaos.observed` runs `worker.runner` with its fence wrapped. A write under a lease
that is another's is noted as `rejected`. `CHAOS_ABLATE=fence` takes the fence out: such a write
then goes through and is noted as `stale`. Notes are lines of JSON in the file `CHAOS_NOTES`.
"""

import json
import os
import sys
from pathlib import Path

from sqlalchemy.orm import Session

from app.core import lease as leases
from app.core.errors import Fenced
from app.core.lease import Lease
from app.core.models import Job
from worker import runner

real_fence = leases.fence


def note(kind: str, lease: Lease) -> None:
    """Append a note; short lines of several processes do not mix."""
    line = json.dumps({"kind": kind, "job": lease.job_id, "token": lease.token}) + "\n"
    with Path(os.environ["CHAOS_NOTES"]).open("ab", buffering=0) as notes:
        notes.write(line.encode())


def fenced(session: Session, lease: Lease) -> Job:
    """Do as the real fence does, and note what it refuses."""
    try:
        return real_fence(session, lease)
    except Fenced:
        note("rejected", lease)
        raise


def unfenced(session: Session, lease: Lease) -> Job:
    """Lock the job's row whoever holds its lease, and note a write that should not be."""
    job = session.get_one(Job, lease.job_id, with_for_update={"key_share": True})
    if job.lease_token != lease.token:
        note("stale", lease)
    return job


if __name__ == "__main__":
    leases.fence = unfenced if os.environ["CHAOS_ABLATE"] == "fence" else fenced
    sys.exit(runner.main())
