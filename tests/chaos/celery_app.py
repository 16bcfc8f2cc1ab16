"""The real worker with the observed runner: `celery -A tests.chaos.celery_app worker`.

`CHAOS_ABLATE=ties` starts the runner so that it outlives its supervisor.
"""

import os
import sys

from worker import supervise
from worker.main import make_app

app = make_app((sys.executable, "-m", "tests.chaos.observed"))
if os.environ["CHAOS_ABLATE"] == "ties":
    vars(supervise)["tied"] = list
