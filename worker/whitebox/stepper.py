"""What takes the optimizer's steps: gradients in, changed weights out, and its state by name."""

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from worker.whitebox.errors import NonFiniteLoss
from worker.whitebox.schedule import OptimizerConfig


@dataclass(frozen=True)
class State:
    """All that training goes on from, whole, whatever it was computed on."""

    weights: Mapping[str, Tensor]
    """The trained weights by parameter name."""
    moments: Mapping[str, Tensor]
    """The optimizer's tensors as `parameter:moment`; none before the first step."""


class Stepper(Protocol):
    """The optimizer of the trained weights. Over several ranks each call is made by all."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each trained weight by its parameter's name."""
        ...

    def clear(self) -> None:
        """Forget what gradients there are."""
        ...

    def backward(self, output: Tensor, slope: Tensor | None = None) -> None:
        """Add the gradient of a scalar, or of `(output * slope).sum()`."""
        ...

    def step(self, lr: float) -> float:
        """Clip the gradient and step; returns its norm from before.

        Raises:
            NonFiniteLoss: the norm is no number; nothing was changed.
        """
        ...

    def snapshot(self) -> AbstractContextManager[State]:
        """The state; until the end of the context the model itself is whole, too."""
        ...

    def restore(self, state: State | None) -> None:
        """Put weights and moments back; of several ranks the first has them, the others None."""
        ...


class TorchStepper:
    """A torch optimizer in one process."""

    def __init__(self, parameters: Mapping[str, Tensor], config: OptimizerConfig) -> None:
        self._parameters = parameters
        self._clip = float("inf") if config.clip is None else config.clip
        self._optimizer = optimizer_of(parameters, config)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each trained weight by its parameter's name."""
        return {name: tuple(parameter.shape) for name, parameter in self._parameters.items()}

    def clear(self) -> None:
        """Forget what gradients there are."""
        self._optimizer.zero_grad(set_to_none=True)

    def backward(self, output: Tensor, slope: Tensor | None = None) -> None:
        """Add the gradient of a scalar, or of `(output * slope).sum()`."""
        output.backward(slope)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def step(self, lr: float) -> float:
        """Clip the gradient and step; returns its norm from before.

        Raises:
            NonFiniteLoss: the norm is no number; nothing was changed.
        """
        norm = torch.nn.utils.clip_grad_norm_(self._parameters.values(), self._clip).item()
        if not math.isfinite(norm):
            raise NonFiniteLoss(f"the norm of the gradient is {norm}")
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.step()
        return norm

    @contextmanager
    def snapshot(self) -> Iterator[State]:
        """The live state."""
        weights = {name: p.detach().contiguous() for name, p in self._parameters.items()}
        moments = {
            f"{name}:{moment}": value.contiguous()
            for name, parameter in self._parameters.items()
            for moment, value in self._optimizer.state[parameter].items()
            if isinstance(value, Tensor)
        }
        yield State(weights, moments)

    @torch.no_grad()
    def restore(self, state: State | None) -> None:
        """Put weights and moments back."""
        assert state is not None
        for name, parameter in self._parameters.items():
            parameter.copy_(state.weights[name])
            self._optimizer.state[parameter] = {
                moment: value.to(parameter.device)
                for moment, value in moments_of(name, state.moments).items()
            }


def optimizer_of(
    parameters: Mapping[str, Tensor], config: OptimizerConfig
) -> torch.optim.Optimizer:
    """The torch optimizer of the trained weights."""
    weights = list(parameters.values())
    decay = config.weight_decay
    match config.kind:
        case "adamw":
            return torch.optim.AdamW(
                weights, lr=config.lr, betas=config.betas, weight_decay=decay, fused=True
            )
        case "sgd":
            return torch.optim.SGD(weights, lr=config.lr, weight_decay=decay)


def moments_of(name: str, moments: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The moments of one parameter by their own names."""
    prefix = f"{name}:"
    return {
        key.removeprefix(prefix): value for key, value in moments.items() if key.startswith(prefix)
    }
