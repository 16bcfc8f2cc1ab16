"""One optimizer step on one training ranking.

The model stays in eval mode while it learns: without dropout the update is a function of weights
and ranking alone, and the belief and the loss see the same probabilities.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worker.cycle.types import Learned, Ranking
from worker.objectives.types import LossOutput, Objective, RankedLogprobs
from worker.whitebox.errors import NonFiniteLoss
from worker.whitebox.precision import Precision
from worker.whitebox.schedule import OptimizerConfig, learning_rate
from worker.whitebox.score import response_logprobs


@dataclass(frozen=True)
class Lesson:
    """A training ranking in tokens: responses best to worst, ties as groups of their positions."""

    prompt: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]
    groups: Ranking
    target: int
    """The position of the response that the SFT term imitates."""


class Learner:
    """The trainable weights of a model with their optimizer; `version` counts its steps."""

    def __init__(
        self,
        model: Any,
        objective: Objective,
        config: OptimizerConfig,
        *,
        total_updates: int,
        precision: Precision = "float32",
        chunk: int | None = None,
    ) -> None:
        """With `chunk`, at most that many responses hold activations at once; gradients agree."""
        self.version = 0
        self.config = config
        self.total_updates = total_updates
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.optimizer = _optimizer(self.parameters, config)
        self._model = model
        self._objective = objective
        self._precision = precision
        self._chunk = chunk

    def learn(self, lesson: Lesson) -> Learned:
        """Step once.

        Raises:
            NonFiniteLoss: the loss or gradient is no number; weights and version are as before.
        """
        self.optimizer.zero_grad(set_to_none=True)
        means_K, out = self._backward(lesson)
        norm = self._clip()
        lr = learning_rate(self.config, self.version, self.total_updates)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.version += 1
        return Learned(
            version=self.version,
            loss=out.loss.item(),
            rank_loss=out.rank.item(),
            sft_loss=out.sft.item(),
            sft_weight=out.weight.mean().item(),
            grad_norm=norm,
            lr=lr,
            scores=tuple(means_K.tolist()),
        )

    def _backward(self, lesson: Lesson) -> tuple[Tensor, LossOutput]:
        """Accumulate the gradient; returns the token means (K,) and the loss."""
        if self._chunk is None or self._chunk >= len(lesson.responses):
            means_K = self._means(lesson, lesson.responses)
            out = _finite(self._objective(_ranked(means_K, lesson)))
            out.loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            return means_K.detach(), out
        return self._backward_in_chunks(lesson, self._chunk)

    def _backward_in_chunks(self, lesson: Lesson, size: int) -> tuple[Tensor, LossOutput]:
        """The same gradient by the chain rule: first the loss by the means, then each chunk's."""
        parts = [slice(i, i + size) for i in range(0, len(lesson.responses), size)]
        with torch.no_grad():
            means_K = torch.cat([self._means(lesson, lesson.responses[part]) for part in parts])
        means_K.requires_grad_()
        out = _finite(self._objective(_ranked(means_K, lesson)))
        (slope_K,) = torch.autograd.grad(out.loss, means_K)
        for part in parts:
            means = self._means(lesson, lesson.responses[part])
            means.backward(slope_K[part])  # type: ignore[no-untyped-call]  # as above
        return means_K.detach(), out

    def _means(self, lesson: Lesson, responses: Sequence[tuple[int, ...]]) -> Tensor:
        sum_K, count_K = response_logprobs(
            self._model, lesson.prompt, responses, precision=self._precision
        )
        return sum_K / count_K

    def _clip(self) -> float:
        """Clip the gradient and return its norm from before."""
        limit = float("inf") if self.config.clip is None else self.config.clip
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), limit).item()
        if not torch.isfinite(torch.tensor(norm)):
            raise NonFiniteLoss(f"the norm of the gradient is {norm}")
        return norm


def _optimizer(parameters: dict[str, Tensor], config: OptimizerConfig) -> torch.optim.Optimizer:
    weights = list(parameters.values())
    decay = config.weight_decay
    match config.kind:
        case "adamw":
            return torch.optim.AdamW(
                weights, lr=config.lr, betas=config.betas, weight_decay=decay, fused=True
            )
        case "sgd":
            return torch.optim.SGD(weights, lr=config.lr, weight_decay=decay)


def _ranked(means_K: Tensor, lesson: Lesson) -> RankedLogprobs:
    group = {place: g for g, places in enumerate(lesson.groups) for place in places}
    device = means_K.device
    return RankedLogprobs(
        logprobs_BK=means_K[None],
        group_BK=torch.tensor([[group[k] for k in range(len(means_K))]], device=device),
        mask_BK=torch.ones(1, len(means_K), dtype=torch.bool, device=device),
        target_B=torch.tensor([lesson.target], device=device),
    )


def _finite(out: LossOutput) -> LossOutput:
    if not torch.isfinite(out.loss):
        raise NonFiniteLoss(f"the loss is {out.loss.item()}")
    return out
