"""The live figures of a run on its device: what its meter reads, against the physical limit."""

import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from worker.cycle.meter import WORK, Meter
from worker.cycle.types import Prompt
from worker.whitebox.calibration import quick_limit
from worker.whitebox.limit import Limit
from worker.whitebox.policy import Speaker
from worker.whitebox.score import base_of


def open_gauge(speaker: Speaker, rows: int, clock: Callable[[], float]) -> "Gauge":
    """Calibrate the limit for `rows` responses at once, in under a second, and begin to measure.

    The limit is of language models: a model without their head has none.
    """
    speaks = base_of(speaker.model).get_output_embeddings() is not None
    precision = speaker.generation.precision
    limit = quick_limit(speaker.model, rows=rows, precision=precision) if speaks else None
    meter = Meter(clock, _prompt_tokens(speaker), _response_tokens(speaker))
    return Gauge(meter, limit, next(speaker.model.parameters()).device)


def _prompt_tokens(speaker: Speaker) -> Callable[[Prompt], int]:
    return lambda prompt: len(speaker.prompt_ids(prompt.messages))


def _response_tokens(speaker: Speaker) -> Callable[[str], int]:
    longest = speaker.generation.max_length
    return lambda text: len(speaker.chat.response_ids(text, longest))


@dataclass(frozen=True)
class Gauge:
    """A run's meter beside what its device could do."""

    meter: Meter
    limit: Limit | None
    device: torch.device

    def figures(self) -> dict[str, float]:
        """Return the meter's figures since the last call, `speed/efficiency` and `memory/peak`.

        Empty if nothing was sampled or learnt: such a stretch has no speed.
        """
        reading = self.meter.reading()
        if not reading["work/generated_tokens"] + reading["work/updates"]:
            return {}
        shown = {name: value for name, value in reading.items() if not name.startswith("work/")}
        shown["memory/peak"] = float(peak_memory(self.device))
        if self.limit is not None:
            shown["speed/efficiency"] = efficiency(reading, self.limit)
        return shown


def efficiency(reading: Mapping[str, float], limit: Limit) -> float:
    """Return the limit's seconds for the work of a reading, as a share of the seconds it took."""
    work = {name: reading[f"work/{name}"] for name in WORK}
    return limit.seconds(**work) / reading["work/seconds"]


def peak_memory(device: torch.device) -> int:
    """Most bytes held so far: tensors on a GPU, else all of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, everyone else kibibytes.
    return peak if sys.platform == "darwin" else peak * 1024
