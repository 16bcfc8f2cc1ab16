"""One optimizer step on the training rankings of one prompt or of several.

Without dropout the update is a function of weights and rankings alone, and the belief and the loss
see the same probabilities; so the model learns in eval mode, or with its dropout off where
checkpointing of activations asks for training mode.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.cycle.types import Learned, Ranking
from worker.objectives.types import LossOutput, Objective, RankedValues
from worker.whitebox.errors import NonFiniteLoss
from worker.whitebox.schedule import OptimizerConfig, learning_rate
from worker.whitebox.score import Scorer
from worker.whitebox.start import Start
from worker.whitebox.stepper import Stepper, TorchStepper
from worker.whitebox.strips import Texts


@dataclass(frozen=True)
class Lesson:
    """A training ranking in tokens: responses best to worst, ties as groups of their positions."""

    texts: Texts
    groups: Ranking
    target: int
    """The position of the response that the SFT term imitates."""
    scores: tuple[float, ...] | None = None
    """What was given as their scores, falling."""


@dataclass(frozen=True)
class _Foreseen:
    """A forward pass made before the verdict was there; `means_K` carries its graph."""

    version: int
    texts: Texts
    means_K: Tensor


class Learner:
    """The trainable weights of a model with their optimizer; `version` counts its steps."""

    def __init__(
        self,
        scorer: Scorer,
        objective: Objective,
        config: OptimizerConfig,
        *,
        total_updates: int,
        stepper: Stepper | None = None,
        start: Start | None = None,
    ) -> None:
        self.version = 0
        self.config = config
        self.total_updates = total_updates
        self.scorer = scorer
        named = scorer.model.named_parameters()
        self.parameters = {n: p for n, p in named if p.requires_grad}
        self.stepper = stepper or TorchStepper(self.parameters, config)
        self.objective = objective
        self.start = start
        self._foreseen: _Foreseen | None = None

    def foresee(self, texts: Texts) -> Tensor:
        """Run the forward pass of the next step ahead; returns the means (K,) without their graph.

        A step on a ranking of just these responses uses it, and is the same in every bit.
        """
        if len(self.scorer.parts(texts)) > 1:
            return torch.tensor(self.scorer.values([texts])[0])
        [means_K] = self.scorer.means([texts])
        self._foreseen = _Foreseen(self.version, texts, means_K)
        return means_K.detach()

    def learn(self, lessons: Sequence[Lesson]) -> list[Learned]:
        """Step once on the mean loss of the lessons.

        Raises:
            NonFiniteLoss: the loss or gradient is no number; weights and version are as before.
        """
        self.stepper.clear()
        measured = self._backward(lessons)
        lr = learning_rate(self.config, self.version, self.total_updates)
        norm = self.stepper.step(lr)
        self.version += 1
        return [_learned(self.version, means_K, out, norm, lr) for means_K, out in measured]

    def _backward(self, lessons: Sequence[Lesson]) -> list[tuple[Tensor, LossOutput]]:
        """Accumulate the gradient; returns each lesson's token means (K,) and loss."""
        measured = []
        for cut in self.scorer.packs([lesson.texts for lesson in lessons]):
            some = lessons[cut]
            if len(some) == 1 and len(self.scorer.parts(some[0].texts)) > 1:
                measured.append(self._backward_in_parts(some[0], len(lessons)))
            else:
                measured += self._backward_at_once(some, len(lessons))
        return measured

    def _backward_at_once(
        self, lessons: Sequence[Lesson], total: int
    ) -> list[tuple[Tensor, LossOutput]]:
        before = [self._before(lesson.texts) for lesson in lessons]
        means = self._means([lesson.texts for lesson in lessons])
        outs = [
            _finite(self.objective(_ranked(means_K, lesson, before_K)))
            for means_K, lesson, before_K in zip(means, lessons, before, strict=True)
        ]
        loss = torch.stack([out.loss for out in outs]).sum() / total
        self.stepper.backward(loss)
        return [(means_K.detach(), out) for means_K, out in zip(means, outs, strict=True)]

    def _backward_in_parts(self, lesson: Lesson, total: int) -> tuple[Tensor, LossOutput]:
        """The same gradient by the chain rule: first the loss by the means, then each part's."""
        means_K = torch.tensor(self.scorer.values([lesson.texts])[0], requires_grad=True)
        out = _finite(self.objective(_ranked(means_K, lesson, self._before(lesson.texts))))
        (slope_K,) = torch.autograd.grad(out.loss, means_K)
        start = 0
        for part in self.scorer.parts(lesson.texts):
            [means] = self.scorer.means([part])
            slopes = slope_K[start : start + len(means)].to(means.device) / total
            self.stepper.backward(means, slopes)
            start += len(means)
        return means_K.detach(), out

    def _before(self, texts: Texts) -> list[float] | None:
        """What the start model makes of the responses, where the objective asks for it."""
        if not self.objective.needs_reference:
            return None
        assert self.start is not None
        return self.start.values(self.scorer, [texts])[0]

    def _means(self, texts: Sequence[Texts]) -> list[Tensor]:
        """The means with their graph, from the pass that was made ahead if it was of just these."""
        ready, self._foreseen = self._foreseen, None
        if ready is None or len(texts) > 1 or ready.version != self.version:
            return self.scorer.means(texts)
        order = _places(texts[0], ready.texts)
        return self.scorer.means(texts) if order is None else [ready.means_K[order]]


def _places(wanted: Texts, ready: Texts) -> list[int] | None:
    """Where the wanted responses stand among the ready ones; None if they are not the same."""
    if wanted.prompt != ready.prompt or sorted(wanted.responses) != sorted(ready.responses):
        return None
    return [ready.responses.index(response) for response in wanted.responses]


def _learned(version: int, means_K: Tensor, out: LossOutput, norm: float, lr: float) -> Learned:
    return Learned(
        version=version,
        loss=out.loss.item(),
        rank_loss=out.rank.item(),
        sft_loss=out.sft.item(),
        sft_weight=out.weight.mean().item(),
        grad_norm=norm,
        lr=lr,
        scores=tuple(means_K.tolist()),
    )


def _ranked(means_K: Tensor, lesson: Lesson, before: Sequence[float] | None) -> RankedValues:
    group = {place: g for g, places in enumerate(lesson.groups) for place in places}
    lengths = [len(response) for response in lesson.texts.responses]

    def row(values: Sequence[float] | None) -> Tensor | None:
        return None if values is None else torch.tensor([values], device=means_K.device)

    return RankedValues(
        values_BK=means_K[None],
        group_BK=torch.tensor([[group[k] for k in range(len(means_K))]], device=means_K.device),
        mask_BK=torch.ones(1, len(means_K), dtype=torch.bool, device=means_K.device),
        target_B=torch.tensor([lesson.target], device=means_K.device),
        tokens_BK=torch.tensor([lengths], device=means_K.device),
        scores_BK=row(lesson.scores),
        reference_BK=row(before),
    )


def _finite(out: LossOutput) -> LossOutput:
    if not torch.isfinite(out.loss):
        raise NonFiniteLoss(f"the loss is {out.loss.item()}")
    return out
