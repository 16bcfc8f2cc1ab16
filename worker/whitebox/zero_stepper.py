"""The optimizer's steps in DeepSpeed's hands, and its state by name from what the ranks hold."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import deepspeed
import torch
from deepspeed.utils import (
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)
from torch import Tensor
from torch import distributed as dist

from worker.whitebox.errors import NonFiniteLoss
from worker.whitebox.leading import Call, Tell
from worker.whitebox.stepper import State, moments_of

MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's; SGD has none."""
CUTS_WEIGHTS = 3
"""The stage from which the weights are cut, too."""


class ZeroStepper:
    """A torch optimizer in DeepSpeed's hands; every rank makes the same calls."""

    def __init__(
        self,
        engine: Any,
        parameters: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
        tell: Tell,
    ) -> None:
        self.shapes = shapes
        self._engine = engine
        self._parameters = parameters
        self._tell = tell
        self._unfinished = False

    @property
    def cuts_weights(self) -> bool:
        """Whether the model's weights are not whole outside of `whole`."""
        return bool(self._engine.zero_optimization_stage() == CUTS_WEIGHTS)

    def clear(self) -> None:
        """Forget what gradients there are."""
        if self._unfinished:
            self._forget()

    def backward(self, output: Tensor, slope: Tensor | None = None) -> None:
        """Add the gradient of a scalar, or of `(output * slope).sum()`."""
        self._unfinished = True
        self._engine.backward(output if slope is None else (output * slope).sum())

    def step(self, lr: float) -> float:
        """Clip the gradient and step; returns its norm from before.

        Raises:
            NonFiniteLoss: the norm is no number; DeepSpeed has skipped the step.
        """
        for group in self._engine.optimizer.param_groups:
            group["lr"] = lr
        self._engine.step()
        self._unfinished = False
        norm = float(self._engine.get_global_grad_norm())
        if self._engine.optimizer.overflow:
            raise NonFiniteLoss(f"the norm of the gradient is {norm}")
        return norm

    @contextmanager
    def snapshot(self) -> Iterator[State]:
        """The state, gathered; until the end of the context the model is whole, too."""
        self._tell(Call("snapshot"))
        moments = self._moments()
        with self.whole():
            weights = {name: p.detach().contiguous() for name, p in self._parameters.items()}
            yield State(weights, moments)

    @torch.no_grad()
    def restore(self, state: State | None) -> None:
        """Put weights and moments back; rank 0 has them and the others None."""
        self._tell(Call("restore"))
        step = _from_first(None if state is None else _steps_of(state))
        self._make_room(step)
        for name, parameter in self._parameters.items():
            given = {} if state is None else moments_of(name, state.moments)
            weight = None if state is None else state.weights[name]
            self._put(parameter, None, self._received(name, weight))
            for moment in MOMENTS if step else ():
                self._put(parameter, moment, self._received(name, given.get(moment)))

    @contextmanager
    def whole(self) -> Iterator[None]:
        """The model's weights are whole on this rank, which may use them without the others."""
        if not self.cuts_weights:
            yield
            return
        weights = list(self._engine.module.parameters())
        offload = self._engine.optimizer.parameter_offload
        with deepspeed.zero.GatheredParameters(weights):
            for weight in weights:
                weight.ds_active_sub_modules.clear()
            offload._remove_module_hooks()  # noqa: SLF001 - they would cut what is whole here
            try:
                yield
            finally:
                offload.setup_zero_stage3_hooks()

    def _forget(self) -> None:
        """What a step's forward left behind that never came to its end."""
        zero = self._engine.optimizer
        zero.zero_grad(set_to_none=True)
        zero.micro_step_id = 0 if self.cuts_weights else -1
        zero.averaged_gradients = (
            {} if self.cuts_weights else dict.fromkeys(zero.averaged_gradients)
        )
        self._unfinished = False

    def _moments(self) -> dict[str, Tensor]:
        states = self._engine.optimizer.state.values()
        step = next((float(state["step"]) for state in states if "step" in state), None)
        if step is None:
            return {}
        found = {}
        for name, parameter in self._parameters.items():
            found[f"{name}:step"] = torch.tensor(step)
            for moment in MOMENTS:
                full = safe_get_full_optimizer_state(parameter, moment)
                found[f"{name}:{moment}"] = full.detach().clone().view(self.shapes[name])
        return found

    def _make_room(self, step: float | None) -> None:
        """Empty moments for what this rank holds, as the first step would have made them."""
        zero = self._engine.optimizer
        state = zero.optimizer.state
        state.clear()
        flats = self._flats() if step else ()
        for flat in flats:
            state[flat] = {"step": torch.tensor(step)} | {
                moment: torch.zeros_like(flat) for moment in MOMENTS
            }
        if not self.cuts_weights:
            zero._hp_optimizer_states_linked = False  # noqa: SLF001 - it links them once
            if flats:
                zero._lazy_init_hp_params_optimizer_state()  # noqa: SLF001 - as above

    def _flats(self) -> Sequence[Tensor]:
        """The flat float32 tensors that the torch optimizer sees."""
        zero = self._engine.optimizer
        flats: Sequence[Tensor] = (
            zero.fp32_partitioned_groups_flat
            if self.cuts_weights
            else zero.single_partition_of_fp32_groups
        )
        return flats

    def _received(self, name: str, value: Tensor | None) -> Tensor:
        """Rank 0's tensor, (shape of the parameter), on every rank."""
        device = self._engine.device
        if value is None:
            whole = torch.empty(self.shapes[name], device=device)
        else:
            whole = value.to(device, torch.float32, copy=True).contiguous()
        dist.broadcast(whole, 0)
        return whole

    def _put(self, parameter: Any, moment: str | None, whole: Tensor) -> None:
        """Set the weight itself, or one of its moments, from a whole tensor."""
        if self.cuts_weights:
            self._put_part(parameter, moment, whole)
        elif moment is not None:
            safe_set_full_optimizer_state(parameter, whole, moment)
        else:
            safe_set_full_fp32_param(parameter, whole)
            parameter.data.copy_(whole)

    def _put_part(self, parameter: Any, moment: str | None, whole: Tensor) -> None:
        part = _own_part(whole, parameter.ds_tensor.numel())
        if moment is not None:
            safe_set_local_optimizer_state(parameter, part, moment)
            return
        safe_set_local_fp32_param(parameter, part)
        parameter.ds_tensor.data.copy_(part)
        if parameter.ds_status.name == "AVAILABLE":
            parameter.data.copy_(whole)


def _own_part(whole: Tensor, size: int) -> Tensor:
    """This rank's part of a tensor that is cut, padded, into equal parts."""
    padding = size * dist.get_world_size() - whole.numel()
    padded = torch.nn.functional.pad(whole.flatten(), (0, padding))
    return padded.narrow(0, size * dist.get_rank(), size)


def _steps_of(state: State) -> float | None:
    """How often the optimizer has stepped, None if it has no moments."""
    steps = (float(value) for key, value in state.moments.items() if key.endswith(":step"))
    return next(steps, None)


def _from_first(value: float | None) -> float | None:
    """Rank 0's value on every rank."""
    values = [value]
    dist.broadcast_object_list(values, 0)
    return values[0]
