"""What goes wrong, one fault at a time, chosen and timed by a seed."""

import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import psutil
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from tests.chaos.stage import LEASE_SECONDS, RUNNER, WORKER, Stage, open_database, parent_of


@dataclass(frozen=True)
class Plan:
    """How much of what is to happen."""

    kills: int
    stops: int
    database_stops: int
    wipes: int

    def shuffled(self, draw: random.Random) -> list[str]:
        faults = ["kill"] * self.kills + ["stop"] * self.stops
        faults += ["database"] * self.database_stops + ["wipe"] * self.wipes
        draw.shuffle(faults)
        return faults


@dataclass
class Faults:
    """The faults of one campaign, and what of them was done to whom."""

    stage: Stage
    draw: random.Random
    victims: tuple[str, ...]
    """`runner`, `worker` (any process of one) or `supervisor` (one that has a runner)."""
    hold: float
    """Most leases for which a process is stopped; at least half as many."""
    done: Counter[str] = field(default_factory=Counter)
    stopped: list[threading.Timer] = field(default_factory=list)
    orphans: int = 0
    """Runners that were found without a supervisor."""

    def cause(self, fault: str) -> None:
        """Do it, and note to whom; a fault that finds no victim waits for one."""
        victim = getattr(self, f"_{fault}")()
        self.done[f"{fault} {victim}"] += 1

    def settle(self) -> None:
        """Let what was stopped go on."""
        for timer in self.stopped:
            timer.join()

    def _kill(self) -> str:
        victim, who = self._victim()
        _send(victim, signal.SIGKILL)
        time.sleep(0.5)
        self.orphans += len(self.stage.orphans())
        return who

    def _stop(self) -> str:
        """Longer than the lease: the job goes to another worker meanwhile."""
        victim, who = self._victim()
        _send(victim, signal.SIGSTOP)
        seconds = self.draw.uniform(0.5, 1) * self.hold * LEASE_SECONDS
        timer = threading.Timer(seconds, _send, (victim, signal.SIGCONT))
        timer.start()
        self.stopped.append(timer)
        return who

    def _database(self) -> str:
        """An immediate stop: every connection breaks, and the server recovers from its log."""
        lock = self.stage.folder / "pg" / "postmaster.pid"
        if lock.exists():
            _send(psutil.Process(int(lock.read_text().split()[0])), signal.SIGQUIT)
        return "postgres"

    def _wipe(self) -> str:
        engine = open_database(self.stage.server.url)
        try:
            with engine.begin() as connection:
                connection.execute(text("DELETE FROM kombu_message"))
        except SQLAlchemyError:
            return "a broker that was down"
        finally:
            engine.dispose()
        return "broker"

    def _victim(self) -> tuple[psutil.Process, str]:
        """A runner as often as one of the worker's processes."""
        while True:
            who = self.draw.choice(self.victims)
            alive = self._alive(who)
            if alive:
                return self.draw.choice(alive), who
            time.sleep(0.1)

    def _alive(self, who: str) -> list[psutil.Process]:
        runners = self.stage.processes(RUNNER)
        if who == "runner":
            return runners
        workers = self.stage.processes(WORKER)
        if who == "worker":
            return workers
        busy = {parent_of(runner) for runner in runners}
        return [worker for worker in workers if worker.pid in busy]


def _send(process: psutil.Process, number: int) -> None:
    """Send a signal; who is gone already needs none."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
