"""The ranks of a run on several devices: rank 0 starts the others (`python -m worker.rank`).

Rank 0 is the runner itself, since torchrun would swallow its exit code and the lease on its
standard input; the environment of the others is torchrun's. They are told on standard input what to
build, as a line of JSON, and then, call by call, what to do; its end is theirs.
"""

import contextlib
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import torch

from app.core.logging import setup_logging
from app.core.process import die_with_parent
from app.core.spec.catalogue import ModelEntry
from worker import parts
from worker.ending import RETRY
from worker.whitebox.errors import WhiteBoxError
from worker.whitebox.leading import Call, Leader, Tell, follow
from worker.whitebox.policy import WhiteBox
from worker.whitebox.ranks import (
    Ranks,
    Store,
    Zero,
    environment,
    joined,
    open_store,
    take_device,
)
from worker.whitebox.sample import never

COMMAND = (sys.executable, "-m", "worker.rank")
STDERR = 2
LAST_WORDS_SECONDS = 2.0
"""A rank whose connections have closed is seen to have ended in less."""
LEAVE_SECONDS = 5.0
"""How long the others may take to end by themselves."""
HANG_SECONDS = 5.0
"""How long rank 0 may take to notice by itself that another has ended."""


class RankLost(Exception):
    """Another rank ended before its time; what was computed since the last checkpoint is lost."""


class DeepSpeedMissing(WhiteBoxError):
    """This machine's installation lacks the extra `distributed`."""


@dataclass(frozen=True)
class Order:
    """What every rank builds its policy from, as JSON."""

    resolved: dict[str, Any]
    """The job's resolved spec."""
    entry: dict[str, Any]
    """The catalogue's entry of the model."""
    steps: int
    cache: str
    start: str | None = None
    """The folder of the weights to start from, on the machine that all ranks are on."""
    threads: int = 0
    """Of this run, to be divided among its ranks; 0 lets torch choose how many."""
    kept_whole: int = 100_000
    """As of `Zero`."""


@contextmanager
def open_policy(order: Order, interrupted: Callable[[], bool] = never) -> Iterator[WhiteBox]:
    """The white box of a run, on as many ranks as its spec asks for.

    Raises:
        RankLost: another rank ended before its time.
        DeepSpeedMissing: the spec asks for ZeRO, which is not installed.
    """
    engine = parts.read_spec(order.resolved).engine
    if engine.zero is None:
        yield _build(order, interrupted)
        return
    ranks = Ranks(0, engine.ranks)
    store = open_store(ranks)
    with (
        _started(order, ranks, store.port) as crew,
        _shared(order, ranks, store, crew.tell, interrupted) as policy,
    ):
        yield Leader(policy, crew.tell)


def main() -> int:
    """Follow rank 0 until it closes this rank's standard input."""
    told = json.loads(sys.stdin.buffer.readline())
    die_with_parent(told["parent_pid"])
    setup_logging()
    ranks = Ranks(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    store = open_store(ranks, int(os.environ["MASTER_PORT"]))
    with _shared(Order(**told["order"]), ranks, store, lambda _: None, never) as policy:
        follow(policy, _calls(sys.stdin.buffer))
    return 0


def _calls(stream: IO[bytes]) -> Iterator[Call]:
    with contextlib.suppress(EOFError):
        while True:
            yield pickle.load(stream)  # noqa: S301 - a pipe that rank 0 alone writes to


def _build(order: Order, interrupted: Callable[[], bool]) -> WhiteBox:
    return parts.build_policy(
        parts.read_spec(order.resolved),
        ModelEntry.model_validate_json(json.dumps(order.entry)),
        steps=order.steps,
        cache=Path(order.cache),
        interrupted=interrupted,
        start=None if order.start is None else Path(order.start),
    )


@contextmanager
def _shared(
    order: Order,
    ranks: Ranks,
    store: Store,
    tell: Tell,
    interrupted: Callable[[], bool],
) -> Iterator[WhiteBox]:
    """The policy on this rank, cut over all, as soon as all are there."""
    torch.set_num_threads(max(1, (order.threads or torch.get_num_threads()) // ranks.count))
    take_device(ranks)
    policy = _build(order, interrupted)
    engine = parts.read_spec(order.resolved).engine
    assert engine.zero
    zero = Zero(engine.zero, engine.offload_optimizer, order.kept_whole)
    with joined(ranks, store), _cut()(policy, ranks, zero, tell) as shared:
        yield shared


def _cut() -> Any:
    try:
        from worker.whitebox.zero import cut  # noqa: PLC0415 - an extra, and slow to import
    except ModuleNotFoundError as error:
        raise DeepSpeedMissing(
            "ZeRO needs the extra `distributed`: pip install -e '.[worker,distributed]'"
        ) from error
    return cut


class Crew:
    """The other ranks' processes."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        self._processes = processes
        self._leaving = threading.Event()

    def tell(self, call: Call) -> None:
        """Have them make a call."""
        for process in self._processes:
            assert process.stdin
            pickle.dump(call, process.stdin)
            process.stdin.flush()

    def watch(self) -> None:
        """End this process if one of them ends and nothing else notices: a collective may hang."""
        for process in self._processes:
            threading.Thread(target=self._watch, args=[process], daemon=True).start()

    def lost(self, seconds: float = 0) -> str | None:
        """Who has ended, within so many seconds, and how; None if all live."""
        until = time.monotonic() + seconds
        while True:
            for rank, process in enumerate(self._processes, 1):
                if process.poll() is not None:
                    return f"rank {rank} ended with exit code {process.returncode}"
            if time.monotonic() >= until:
                return None
            time.sleep(0.05)

    def close(self, seconds: float) -> None:
        """Let them end by themselves for so long; nothing of them is left."""
        self._leaving.set()
        for process in self._processes:
            assert process.stdin
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        until = time.monotonic() + seconds
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
            process.kill()
            process.wait()

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        if not self._leaving.wait(HANG_SECONDS):
            print(json.dumps({"code": "rank_lost", "detail": self.lost()}), flush=True)  # noqa: T201 - the supervisor reads it
            os._exit(RETRY)


@contextmanager
def _started(order: Order, ranks: Ranks, port: int) -> Iterator[Crew]:
    crew = Crew([_start(order, Ranks(k, ranks.count), port) for k in range(1, ranks.count)])
    crew.watch()
    patience = 0.0
    try:
        yield crew
        patience = LEAVE_SECONDS
    except (RuntimeError, OSError) as error:
        if lost := crew.lost(LAST_WORDS_SECONDS):
            raise RankLost(lost) from error
        raise
    finally:
        crew.close(patience)


def _start(order: Order, ranks: Ranks, port: int) -> subprocess.Popen[bytes]:
    """Start a rank in this process's group, so that it ends with the runner."""
    process = subprocess.Popen(  # noqa: S603 - an argument list of our own, no shell
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=STDERR,
        env=os.environ | environment(ranks, port),
    )
    assert process.stdin
    told = {"parent_pid": os.getpid(), "order": asdict(order)}
    process.stdin.write(json.dumps(told).encode() + b"\n")
    process.stdin.flush()
    return process


if __name__ == "__main__":
    sys.exit(main())
