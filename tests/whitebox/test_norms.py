"""Torch's root-mean-square norm beside the library's."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from worker.whitebox.norms import use_torch_norms


class ShiftedRMSNorm(LlamaRMSNorm):  # type: ignore[misc]  # the library has no types here
    """One of those that add one to their weight."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Norm and weigh."""
        inverse = torch.rsqrt(hidden_states.square().mean(-1, keepdim=True) + self.variance_epsilon)
        weighed: Tensor = (1 + self.weight) * hidden_states * inverse
        return weighed


def _model(norm: type[Any]) -> nn.Sequential:
    layer = norm(24, eps=1e-5)
    nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(1))
    return nn.Sequential(layer.requires_grad_(requires_grad=False))


def test_a_norm_and_its_gradient_are_the_librarys() -> None:
    model = _model(LlamaRMSNorm)
    draw = torch.Generator().manual_seed(2)
    inputs = (3 * torch.randn(2, 5, 24, generator=draw)).requires_grad_()
    slopes = torch.randn(2, 5, 24, generator=draw)
    theirs = model(inputs)
    [their_slopes] = torch.autograd.grad(theirs, inputs, slopes)
    use_torch_norms(model)
    assert "forward" in vars(model[0])
    ours = model(inputs)
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert torch.allclose(torch.autograd.grad(ours, inputs, slopes)[0], their_slopes, atol=1e-6)


def test_a_norm_that_computes_something_else_stays_as_it_is() -> None:
    model = _model(ShiftedRMSNorm)
    use_torch_norms(model)
    assert "forward" not in vars(model[0])
