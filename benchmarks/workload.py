"""What a benchmark run does, and what was measured of it."""

import math
import resource
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from benchmarks.lengths import response_length, uniform

Tuning = Literal["lora", "full"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Workload:
    """The same work for every system."""

    model: str = "13m"
    """A name that `models.build` knows."""
    prompts: int = 64
    prompts_file: str = ""
    """JSON lines with real prompts, for models that read; empty for the repository's own."""
    candidates: int = 4
    prompt_tokens: int = 96
    """Exact length of synthetic prompts with their template; the longest of real ones."""
    response_tokens: int = 48
    """Mean of the keyed lengths; no response is longer than twice this."""
    iterations: int = 5
    """The most iterations of one prompt."""
    agreement: float = 0.35
    """Chance that a prompt is done after an iteration."""
    judge_seconds: float = 0.5
    """Mean of the judge's log-normal latency."""
    tuning: Tuning = "full"
    lora_rank: int = 16
    precision: Precision = "float32"
    device: str = "cpu"
    threads: int = 2
    lr: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for a word that is none of its field's."""
        for word, known in ((self.tuning, Tuning), (self.precision, Precision)):
            if word not in get_args(known):
                raise ValueError(f"{word!r} is none of {', '.join(get_args(known))}")

    @property
    def longest_response(self) -> int:
        """No response has more tokens."""
        return 2 * self.response_tokens

    @property
    def weights(self) -> Precision:
        """In what the weights are held: bfloat16 only where a GPU computes in it."""
        return "float32" if self.device == "cpu" else self.precision

    @property
    def prompt_iterations(self) -> int:
        """Iterations over all prompts."""
        return sum(map(self.iterations_of, range(self.prompts)))

    def iterations_of(self, prompt: int) -> int:
        """After how many iterations the prompt is done: geometric, cut at `iterations`."""
        if not 0 < self.agreement < 1:
            return self.iterations if self.agreement <= 0 else 1
        at = uniform(self.seed, "iterations", prompt)
        return min(1 + int(math.log(at) / math.log(1 - self.agreement)), self.iterations)

    def length_of(self, prompt: int, iteration: int, candidate: int) -> int:
        """Tokens of one response, its end token included; iterations count from 1."""
        return response_length(self.seed, prompt, iteration, candidate, self.response_tokens)


@dataclass(frozen=True)
class Measured:
    """One run of one system, its warm-up left out."""

    system: str
    wall_seconds: float
    cpu_seconds: float
    """Process time of all threads."""
    peak_memory_bytes: int
    """Of the process, its warm-up included; on a GPU what torch allocated there."""
    prompt_iterations: int = 0
    samples: int = 0
    generated_tokens: int = 0
    trained_tokens: int = 0
    """Tokens that went through the training pass, padding left out; a shared prompt counts once."""
    optimizer_steps: int = 0
    judge_calls: int = 0
    judge_wait_seconds: float = 0.0
    """How long nothing but the judge was waited for."""
    digest: str = ""
    """Of weights and events, where two runs ought to agree bit for bit."""
    notes: tuple[str, ...] = ()

    @property
    def samples_per_second(self) -> float:
        """The rate by which systems are compared, for their candidates differ in number."""
        return self.samples / self.wall_seconds

    @property
    def judge_wait_share(self) -> float:
        """Share of the wall time."""
        return self.judge_wait_seconds / self.wall_seconds


class Stopwatch:
    """Wall time, processor time and peak memory between `start` and `stop`."""

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self._wall = self._cpu = 0.0
        self._took: dict[str, Any] = {}

    def start(self) -> None:
        """Begin, or begin again: what came before was warm-up."""
        self._wait()
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """Take the times; `measured` reads them."""
        self._wait()
        self._took = {
            "wall_seconds": time.perf_counter() - self._wall,
            "cpu_seconds": time.process_time() - self._cpu,
            "peak_memory_bytes": _peak_memory(self._device),
        }

    def measured(self, system: str, **counts: Any) -> Measured:
        """The times together with what was counted."""
        return Measured(system=system, **self._took, **counts)

    def _wait(self) -> None:
        if self._device != "cpu":
            import torch  # noqa: PLC0415 - the records above are read without it

            torch.cuda.synchronize()


def changed(workload: Workload, field: str, value: str) -> dict[str, Any]:
    """One field of a workload from its text, as arguments of `dataclasses.replace`.

    Raises:
        ValueError: there is no such field, or the text is no value of it.
    """
    if field not in {each.name for each in fields(workload)}:
        raise ValueError(f"a workload has no field {field!r}")
    return {field: type(getattr(workload, field))(value)}


def default_prompts() -> Path:
    """The demo's prompts: real ones that are always at hand."""
    return Path(__file__).parents[1] / "cyclealign" / "demo" / "prompts.jsonl"


def _peak_memory(device: str) -> int:
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    import torch  # noqa: PLC0415 - the records above are read without it

    return int(torch.cuda.max_memory_allocated())
