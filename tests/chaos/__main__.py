"""Chaos on demand: `python -m tests.chaos`, by default 60 jobs under 143 faults.

`--ablate fence` takes the fence out, `--ablate ties` lets runners outlive their supervisors: the
same checks must then find something, and the exit code is 1.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from app.core.logging import setup_logging
from tests.chaos.campaign import Campaign, run_campaign
from tests.chaos.faults import Plan
from tests.chaos.stage import staged

DEFAULTS = {"jobs": 60, "kills": 100, "stops": 30, "databases": 10, "wipes": 3}
VICTIMS = ["runner", "worker", "supervisor"]


def main() -> int:
    """Run one campaign; return 1 if a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    for name, default in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ablate", choices=["", "fence", "ties"], default="")
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=VICTIMS[:2])
    parser.add_argument("--hold", type=float, default=4, help="most leases of a stop")
    parser.add_argument("--limit", type=float, default=3000, help="seconds until a job is stuck")
    asked = parser.parse_args()
    setup_logging()
    plan = Plan(asked.kills, asked.stops, asked.databases, asked.wipes)
    victims = tuple(asked.victims)
    campaign = Campaign(asked.jobs, plan, asked.seed, asked.limit, victims, asked.hold)
    with (
        tempfile.TemporaryDirectory(prefix="ca-chaos-") as folder,
        staged(Path(folder), asked.ablate) as stage,
    ):
        outcome = run_campaign(stage, campaign)
    for name, value in outcome.facts.items():
        mark = "BROKEN" if name in outcome.broken else ""
        sys.stdout.write(f"{name:28} {json.dumps(value):40} {mark}\n")
    return 1 if outcome.broken else 0


if __name__ == "__main__":
    sys.exit(main())
