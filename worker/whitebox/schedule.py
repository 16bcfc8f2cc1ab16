"""The optimizer's settings, and its learning rate as a plain function of the update's number."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW or plain SGD, warm-up and decay, and clipping of the gradient's norm.

    CycleAlign states the learning rate alone; the rest follows PRO: AdamW, constant, clip 1.0.
    """

    kind: Literal["adamw", "sgd"] = "adamw"
    lr: float = 5e-5
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_updates: int = 0
    clip: float | None = 1.0


def learning_rate(config: OptimizerConfig, update: int, total_updates: int) -> float:
    """The rate of update number `update`, counted from 0, of at most `total_updates`.

    It climbs in equal parts over the warm-up, reaching `lr` with its last update, and then stays
    or falls towards zero, which it reaches after the last update.
    """
    if update < config.warmup_updates:
        return config.lr * (update + 1) / config.warmup_updates
    decaying = max(1, total_updates - config.warmup_updates)
    done = min(1.0, (update - config.warmup_updates) / decaying)
    match config.schedule:
        case "constant":
            return config.lr
        case "linear":
            return config.lr * (1.0 - done)
        case "cosine":
            return config.lr * 0.5 * (1.0 + math.cos(math.pi * done))
