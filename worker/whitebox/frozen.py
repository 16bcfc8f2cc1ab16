"""Products with weights that are not trained, in the layout that a CPU multiplies fastest.

Weights that meet the same input stand below one another and are multiplied as one. Where torch's
own product then lays a weight out anew at every call, a frozen one is laid out once for each
direction.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from worker.whitebox.native.products import in_panels

Layout = Literal["own", "joined", "packed"]
"""How frozen weights (E, D) lie: each as it was loaded; those of one input below one another, in a
copy; or such ones laid out anew for each direction of a product."""
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
Product = Callable[[Tensor, Tensor | None], Tensor]
"""y (T, E) = x (T, D) W' + b."""


def product_with(weight_ED: Tensor, *, packed: bool) -> Product:
    """The product with this weight as it is now; a packed one keeps a copy and not the weight."""
    if packed and can_pack(weight_ED):
        # an operator of torch's compiler, which packs frozen weights in the same way
        reorder = torch.ops.mkldnn._reorder_linear_weight  # noqa: SLF001
        return partial(_packed, reorder(weight_ED.detach()))
    return partial(_plain, weight_ED)


class FrozenLayer:
    """The product with a linear layer's weight, and the product that takes slopes back.

    Of several layers that read the same input, the weights stand below one another. The kernels
    multiply by `compiled` ones, and back as well where they are also `packed`: torch's packed
    products keep memory for every new number of rows.
    """

    def __init__(self, *layers: Any, packed: bool = False, compiled: bool = False) -> None:
        self.weights: list[Tensor] = [layer.weight for layer in layers]
        self.bias = _bias(layers)
        self._packed, self._compiled = packed, compiled
        self._made_of: tuple[int, ...] = ()
        """What tells whether the weights are still as they were."""
        self._joined: Tensor | None = None
        self._products: dict[bool, Product] = {}
        """By direction."""

    @property
    def product(self) -> Product:
        """The product with the weight, before the bias."""
        return self._product(back=False)

    def forward(self, x_TD: Tensor) -> Tensor:
        """Return x W' + b, (T, E)."""
        return self.product(x_TD, self.bias)

    def back(self, slope_TE: Tensor) -> Tensor:
        """Return slope W, (T, D)."""
        return self._product(back=True)(slope_TE, None)

    def _product(self, *, back: bool) -> Product:
        mark = tuple(mark for weight in self.weights for mark in _mark(weight))
        if mark != self._made_of:
            self._made_of, self._joined, self._products = mark, None, {}
        if back not in self._products:
            weight_ED = self._weight()
            self._products[back] = self._made(weight_ED, back=back)
        return self._products[back]

    def _made(self, weight_ED: Tensor, *, back: bool) -> Product:
        right = weight_ED.mT if back else weight_ED
        if self._compiled and (self._packed or not back):
            return in_panels(right)
        return product_with(right, packed=self._packed)

    def _weight(self) -> Tensor:
        """All weights in one; a packed product has a copy of its own, so that one is not kept."""
        weight_ED = joined(self.weights) if self._joined is None else self._joined
        self._joined = None if self._packed else weight_ED
        return weight_ED


_PACKED: "WeakKeyDictionary[Any, FrozenLayer]" = WeakKeyDictionary()


@cache
def best_layout() -> Layout:
    """The layout that is fastest here, by the CPU's maker: a machine always computes alike.

    Torch multiplies with Intel's MKL. On an EPYC packing made learning and sampling a fifth to a
    third faster, on a Xeon nothing.
    """
    try:
        about = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "joined"
    return "joined" if "GenuineIntel" in about else "packed"


def pack(layers: Iterable[Any], *, packed: bool, compiled: bool) -> None:
    """Let `frozen` find packed or compiled products for these layers from now on."""
    made = {layer: FrozenLayer(layer, packed=packed, compiled=compiled) for layer in layers}
    _PACKED.update(made)


def unpack(layers: Iterable[Any]) -> None:
    """Take that back."""
    for layer in layers:
        _PACKED.pop(layer, None)


def frozen(layer: Any) -> FrozenLayer:
    """The products of a linear layer whose weight and bias are not trained."""
    return _PACKED.get(layer) or FrozenLayer(layer)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """The parts below one another; a part alone is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _bias(layers: Sequence[Any]) -> Tensor | None:
    """The biases of several layers after one another, with zeros for those that have none."""
    biases = [getattr(layer, "bias", None) for layer in layers]
    if all(bias is None for bias in biases):
        return None
    return joined(
        [
            layer.weight.new_zeros(len(layer.weight)) if bias is None else bias
            for layer, bias in zip(layers, biases, strict=True)
        ]
    )


def _mark(weight: Tensor) -> tuple[int, int]:
    return weight._version, weight.data_ptr()  # noqa: SLF001 - has no other name


def can_pack(weight: Tensor) -> bool:
    """Whether a weight can be laid out anew; not every CPU multiplies bfloat16."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - as above
    return weight.dtype == torch.float32


def _plain(weight_ED: Tensor, x_TD: Tensor, bias_E: Tensor | None) -> Tensor:
    return torch.nn.functional.linear(x_TD, weight_ED, bias_E)


def _packed(weight: Tensor, x_TD: Tensor, bias_E: Tensor | None) -> Tensor:
    linear = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - as above
    out: Tensor = linear(x_TD, weight, bias_E, "none", [], "")
    return out
