"""Sampling and learning shared out over ranks, each of which runs the same code on its own part.

What a rank computes is gathered so that all go on alike: only prompts and responses are split.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any, Literal

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # torch does not list it

from worker.whitebox.sample import Drawn, Row, Sampler, never
from worker.whitebox.score import Scorer, own_order
from worker.whitebox.strips import Texts

HOST = "127.0.0.1"
PATIENCE = timedelta(hours=6)
"""Until a rank gives up on another that is alive; how long a round takes is not ours to bound."""


@dataclass(frozen=True)
class Ranks:
    """One of `count` ranks."""

    own: int
    count: int


@dataclass(frozen=True)
class Zero:
    """What is cut over the ranks, and where the optimizer's state lies."""

    stage: Literal[2, 3]
    offload_optimizer: bool = False
    """Whether moments and main weights lie in the CPU's memory, and the step is taken there."""
    kept_whole: int = 100_000
    """In stage 3, weights of fewer numbers stay whole on every rank."""


Store = TCPStore
"""Where the ranks meet."""


def open_store(ranks: Ranks, port: int = 0) -> Store:
    """Open the store, on rank 0 at a free port, or connect to it at rank 0's."""
    first = ranks.own == 0
    return Store(HOST, port, ranks.count, is_master=first, timeout=PATIENCE, wait_for_workers=False)


def environment(ranks: Ranks, port: int) -> dict[str, str]:
    """The environment that torchrun would give this rank, from which DeepSpeed reads."""
    return {
        "RANK": str(ranks.own),
        "LOCAL_RANK": str(ranks.own),
        "WORLD_SIZE": str(ranks.count),
        "MASTER_ADDR": HOST,
        "MASTER_PORT": str(port),
    } | ({} if torch.cuda.is_available() else {"DS_ACCELERATOR": "cpu"})


def take_device(ranks: Ranks) -> None:
    """On GPUs each rank takes its own; call it before anything is loaded."""
    if torch.cuda.is_available():
        torch.cuda.set_device(ranks.own)


@contextmanager
def joined(ranks: Ranks, store: Store) -> Iterator[None]:
    """Within the default process group, as soon as all ranks are."""
    os.environ.update(environment(ranks, store.port))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(
        backend, store=store, rank=ranks.own, world_size=ranks.count, timeout=PATIENCE
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


@dataclass(frozen=True)
class SharedSampler:
    """Each rank samples some of the rows; rank 0 yields all of them, the others nothing."""

    sampler: Sampler
    ranks: Ranks
    whole: Callable[[], AbstractContextManager[None]]
    """A context in which this rank can run the model without the others."""

    def sample(
        self, rows: Sequence[Row], version: int, interrupted: Callable[[], bool] = never
    ) -> Iterator[tuple[int, Drawn]]:
        """Yield each row's index and response when all are complete, by length, then by index.

        Raises:
            Interrupted: `interrupted` answered true on this rank.
        """
        own = own_rows(rows, self.ranks)
        ours = [rows[i] for i in own]
        with self.whole():
            drawn = list(self.sampler.sample(ours, version, interrupted)) if ours else []
        found = self._gathered([(own[i], one) for i, one in drawn])
        yield from sorted(found, key=lambda one: (len(one[1].tokens), one[0]))

    def _gathered(self, drawn: list[tuple[int, Drawn]]) -> list[tuple[int, Drawn]]:
        each: list[Any] | None = [None] * self.ranks.count if self.ranks.own == 0 else None
        dist.gather_object(drawn, each)
        return [one for some in each or () for one in some]


def own_rows(rows: Sequence[Row], ranks: Ranks) -> list[int]:
    """The rows of this rank: whole prompts in turn, or single rows where prompts are too few."""
    of_prompts = groupby(range(len(rows)), key=lambda i: rows[i].prompt)
    groups = [list(group) for _, group in of_prompts]
    if len(groups) < ranks.count:
        groups = [[i] for i in range(len(rows))]
    return [i for group in groups[ranks.own :: ranks.count] for i in group]


@dataclass(frozen=True)
class SharedScorer(Scorer):
    """Each rank runs the model on some of the responses; every rank gets all the means.

    The gradient of what follows reaches this rank's own means, `count` times: ZeRO takes the mean
    of the ranks' gradients, and ours are parts of one sum.
    """

    engine: Any = None
    ranks: Ranks = Ranks(0, 1)

    def run(
        self, inputs: dict[str, Tensor], rows: list[int], places: list[int], targets_N: Tensor
    ) -> Tensor:
        """Run the model where DeepSpeed gathers its weights."""
        logprobs_N: Tensor = self.engine(inputs, rows, places, targets_N)
        return logprobs_N

    def means(self, texts: Sequence[Texts]) -> list[Tensor]:
        """One forward pass on every rank; the token means of all, a tensor (K,) for each.

        Raises:
            ValueError: a prompt or response is empty.
        """
        own, places = own_texts(texts, self.ranks)
        # A rank without a part runs on one that does not count: all must take the same steps.
        own_M = torch.cat(super().means(own or [texts[0].part(0, 1)]))
        counts = [len(one.responses) for one in texts]
        all_N: Tensor = _Gathered.apply(  # type: ignore[no-untyped-call]  # torch leaves it untyped
            own_M, torch.tensor(places, dtype=torch.long), sum(counts), self.ranks.count
        )
        return list(torch.split(all_N, counts))


def own_texts(texts: Sequence[Texts], ranks: Ranks) -> tuple[list[Texts], list[int]]:
    """This rank's responses, and their places among all; other ranks have the rest."""
    parts, places, start = [], [], 0
    for i, one in enumerate(texts):
        own = own_order(one)[(ranks.own + i) % ranks.count :: ranks.count]
        if own:
            parts.append(Texts(one.prompt, tuple(one.responses[k] for k in own)))
            places += [start + k for k in own]
        start += len(one.responses)
    return parts, places


class _Gathered(torch.autograd.Function):
    """The ranks' own values in the places that are theirs."""

    @staticmethod
    def forward(ctx: Any, own_M: Tensor, places: Tensor, count: int, ranks: int) -> Tensor:
        ctx.save_for_backward(places)
        ctx.own, ctx.ranks = len(own_M), ranks
        all_N = own_M.new_zeros(count)
        all_N[places] = own_M[: len(places)]
        dist.all_reduce(all_N)
        return all_N

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        (places,) = ctx.saved_tensors
        slope_M = slopes[0].new_zeros(ctx.own)
        slope_M[: len(places)] = slopes[0][places] * ctx.ranks
        return slope_M, None, None, None
