"""Frozen weights with their low-rank adapters, of layers that read the same input, as one product.

Peft's forward takes nine operations a layer where three matrix products do, a third of a decoding
step's time on a CPU. For sampling there may be a second copy of the adapted weights with the
adapters added in, so that a step takes one product.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from worker.whitebox.frozen import FrozenLayer, Product, joined
from worker.whitebox.native import adapters as native
from worker.whitebox.native.products import WIDE, Panels, in_panels, summed


class Factors(NamedTuple):
    """An adapter: y += s (x A') B'."""

    a_RD: Tensor
    b_ER: Tensor


@dataclass(frozen=True, eq=False)
class Adapters:
    """Those of a stack's layers under one name, in the order of the layers."""

    factors: list[Factors]
    scale: float
    """The s of all alike."""
    sizes: list[int]
    """Of outputs, E."""
    ranks: list[int]
    """Of factors, R."""

    def shares(self, wide_TE: Tensor, low_TR: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Each adapter's columns of outputs (T, E) and of low-rank products (T, R), as views."""
        if len(self.factors) == 1:
            return (wide_TE,), (low_TR,)
        # the operator itself: `torch.split` goes through Python and takes twice the time
        return wide_TE.split_with_sizes(self.sizes, 1), low_TR.split_with_sizes(self.ranks, 1)


@dataclass(eq=False)
class Stack:
    """Adapted layers that read the same input, or one alone."""

    layers: list[Any]
    base: FrozenLayer
    compiled: bool = False
    """Whether the kernels compute what the adapters do in learning."""
    merged: Product | None = None
    """The product with the adapters of the last renewal added in, while that is in use."""
    _ready: tuple[Tensor, Sequence[Tensor]] | None = None
    """An input, and the outputs of all layers for it."""
    _adapters: dict[str, Adapters] = field(default_factory=dict)
    """By their name."""

    @property
    def sizes(self) -> list[int]:
        """The output size of each layer."""
        return [layer.out_features for layer in self.layers]

    @property
    def adapters(self) -> Adapters:
        """Those at work; peft's ways to them are long, so they are noted by name."""
        name = self.layers[0].active_adapters[0]
        if name not in self._adapters:
            self._adapters[name] = self._adapters_of(name)
        return self._adapters[name]

    def _adapters_of(self, name: str) -> Adapters:
        layers = self.layers
        factors = [Factors(one.lora_A[name].weight, one.lora_B[name].weight) for one in layers]
        [scale] = {float(layer.scaling[name]) for layer in layers}
        return Adapters(factors, scale, self.sizes, [len(f.a_RD) for f in factors])

    @property
    def flat(self) -> list[Tensor]:
        """All A, then all B, in the order of the slopes of `back`."""
        factors = self.adapters.factors
        return [*(f.a_RD for f in factors), *(f.b_ER for f in factors)]

    @torch.no_grad()
    def sum(self) -> Tensor:
        """W + s B A of all layers below one another, (E, D)."""
        first = self.layers[0].get_base_layer().weight
        total_ED: Tensor = first.new_empty(sum(self.sizes), first.shape[1])
        adapters = self.adapters
        parts = zip(
            self.layers, adapters.factors, total_ED.split_with_sizes(self.sizes), strict=True
        )
        for layer, (a, b), part_ED in parts:
            torch.addmm(layer.get_base_layer().weight, b, a, alpha=adapters.scale, out=part_ED)
        return total_ED

    def sum_in_panels(self) -> Panels:
        """The same as the kernels take it."""
        if any(size % WIDE for size in self.sizes[:-1]):
            return in_panels(self.sum())
        weights = [layer.get_base_layer().weight for layer in self.layers]
        return summed(weights, self.adapters.factors, self.adapters.scale)

    def forward(self, which: int, x: Tensor) -> Tensor:
        """The output of one of the layers; the first that a block asks computes those of all."""
        ready = self._ready
        if which == 0 or ready is None or ready[0] is not x:
            ready = (x, self._outputs(x))
        self._ready = None if which == len(self.layers) - 1 else ready
        return ready[1][which]

    def _outputs(self, x: Tensor) -> Sequence[Tensor]:
        """What each layer makes of an input."""
        flat_TD = x.reshape(-1, x.shape[-1])
        y_TE = self._learnt(flat_TD) if self.learns else self.values(flat_TD)
        y = y_TE.view(*x.shape[:-1], -1)
        return (y,) if len(self.layers) == 1 else torch.split(y, self.sizes, -1)

    def _learnt(self, x_TD: Tensor) -> Tensor:
        out: Tensor = _LowRank.apply(x_TD, self, *self.flat)  # type: ignore[no-untyped-call]
        return out

    @property
    def learns(self) -> bool:
        """Whether the adapters are to get gradients."""
        idle = self.merged is not None or self.layers[0].disable_adapters
        return torch.is_grad_enabled() and not idle

    def values(self, x_TD: Tensor, more_TE: Tensor | None = None) -> Tensor:
        """All outputs beside one another, (T, E), by the sums, the weights alone or adapters.

        They are added to `more`.
        """
        if isinstance(self.merged, Panels):
            return self.merged(x_TD, self.base.bias, more_TE)
        y_TE = self._values(x_TD)
        return y_TE if more_TE is None else y_TE.add_(more_TE)

    def _values(self, x_TD: Tensor) -> Tensor:
        if self.merged is not None:
            return self.merged(x_TD, self.base.bias)
        if self.layers[0].disable_adapters:
            return self.base.forward(x_TD)
        return self.product(x_TD)[0]

    def product(self, x_TD: Tensor) -> tuple[Tensor, Tensor]:
        """All outputs beside one another, (T, E), and what all A make of x, (T, R)."""
        adapters = self.adapters
        if self.compiled:
            return self._by_kernels(x_TD.contiguous(), adapters)
        low_TR = x_TD @ joined([f.a_RD for f in adapters.factors]).to(x_TD.dtype).T
        y_TE = self.base.forward(x_TD)
        for f, y, low in zip(adapters.factors, *adapters.shares(y_TE, low_TR), strict=True):
            y.addmm_(low, f.b_ER.to(x_TD.dtype).T, alpha=adapters.scale)
        return y_TE, low_TR

    def _by_kernels(self, x_TD: Tensor, adapters: Adapters) -> tuple[Tensor, Tensor]:
        given, weights = (x_TD, adapters.factors, adapters.scale), self.base.product
        if not isinstance(weights, Panels):
            y_TE = self.base.forward(x_TD)
            return y_TE, native.add(*given, y_TE)
        y_TE, low_TR = native.multiplied(*given, weights)
        return y_TE if self.base.bias is None else y_TE.add_(self.base.bias), low_TR

    def back(
        self, slope_TE: Tensor, x_TD: Tensor, low_TR: Tensor, *, onward: bool = True
    ) -> tuple[Tensor | None, ...]:
        """The slopes of x, unless they go no further, then of all A and of all B."""
        adapters = self.adapters
        factors = adapters.factors
        if self.compiled:
            return self._back_by_kernels(slope_TE, x_TD, low_TR, onward=onward)
        shares = adapters.shares(slope_TE, low_TR * adapters.scale)
        each = list(zip(factors, *shares, strict=True))
        downs = [slope @ f.b_ER.to(slope.dtype) for f, slope, _ in each]
        down_TR = (downs[0] if len(downs) == 1 else torch.cat(downs, 1)).mul_(adapters.scale)
        dx = None
        if onward:
            a_RD = joined([f.a_RD for f in factors]).to(slope_TE.dtype)
            dx = self.base.back(slope_TE).addmm_(down_TR, a_RD)
        da_RD = (down_TR.T @ x_TD).to(factors[0].a_RD.dtype)
        db = [(slope.T @ low).to(f.b_ER.dtype) for f, slope, low in each]
        return dx, *da_RD.split_with_sizes(adapters.ranks), *db

    def _back_by_kernels(
        self, slope_TE: Tensor, x_TD: Tensor, low_TR: Tensor, *, onward: bool
    ) -> tuple[Tensor | None, ...]:
        adapters = self.adapters
        dx = self.base.back(slope_TE) if onward else None
        given = (slope_TE.contiguous(), x_TD.contiguous(), low_TR)
        da_RD, db_ER = native.back(*given, adapters.factors, adapters.scale, dx)
        of_a, of_b = da_RD.split_with_sizes(adapters.ranks), db_ER.split_with_sizes(adapters.sizes)
        return dx, *of_a, *of_b


@dataclass
class Sums:
    """Products with adapted weights that have their adapters added in."""

    stacks: list[Stack]
    made: Callable[[Stack], Product] | None = None
    """How a stack's sum is laid out to be multiplied by."""
    products: list[Product] = field(default_factory=list)
    """One a stack."""

    def renew(self) -> None:
        """Add the adapters as they are now."""
        if self.made is not None:
            self.products = []  # their memory first, then the new ones
            self.products = [self.made(stack) for stack in self.stacks]

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the layers compute with the sums of the last renewal."""
        for stack, product in zip(self.stacks, self.products, strict=True):
            stack.merged = product
        try:
            yield
        finally:
            for stack in self.stacks:
                stack.merged = None


class _LowRank(torch.autograd.Function):
    """A stack's product with gradients for x and adapters; weights and biases are frozen."""

    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, stack: Stack, *factors: Tensor) -> Tensor:
        y_TE, low_TR = stack.product(x_TD)
        # the factors as well: autograd then tells if they have changed before the way back
        ctx.save_for_backward(x_TD, low_TR, *factors)
        ctx.stack = stack
        return y_TE

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        x_TD, low_TR, *_ = ctx.saved_tensors
        onward = ctx.needs_input_grad[0]
        dx, *factors = ctx.stack.back(slopes[0], x_TD, low_TR, onward=onward)
        return dx, None, *factors
