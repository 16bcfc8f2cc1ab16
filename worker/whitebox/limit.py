"""The physical limit: the least time that one device needs for a run's matrix products.

A lower bound over schedules, not over ideas: every prompt is read once, every response decoded
once in large batches, and every training pass shares its prompt. The belief costs nothing, since
the training pass yields it, and judging is hidden behind the rest.
"""

import math
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

ADAPTER = "lora_"
"""The part of a module's name that tells an adapter's factors."""


@dataclass(frozen=True)
class Products:
    """The floating-point operations of a causal model's matrix products; lookups cost none."""

    body: float
    """A token through the linear layers of all blocks."""
    adapter: float
    """A token through the adapters; sampling may do without, by adding them into the weights."""
    head: float
    """One row of logits."""
    pair: float
    """One query-key pair through all layers: its score and its share of the values."""
    frozen: bool
    """Whether body and head get no gradient of their own."""

    def forward(self, tokens: float, logits: float, pairs: float = 0) -> float:
        """One pass without gradients over so many tokens, rows of logits and query-key pairs."""
        return self.body * tokens + self.head * logits + self.pair * pairs

    def training(self, tokens: float, logits: float, pairs: float = 0) -> float:
        """One pass forward and back.

        A product of two things that both want gradients costs three times its forward; a frozen
        weight wants none, so twice: with 2 operations a weight and token, that is c = 6 and 4.
        That adapters of the first block need no gradient of its input is left out.
        """
        weights = 2 if self.frozen else 3
        whole = 3 * (self.adapter * tokens + self.pair * pairs)
        return weights * (self.body * tokens + self.head * logits) + whole


@dataclass(frozen=True)
class Limit:
    """What one device can do with one model."""

    products: Products
    peak: float
    """Operations a second of its best matrix product."""
    decode_seconds: float
    """Seconds a generated token, in the largest batch that the run decodes."""
    optimizer_seconds: float
    """Seconds an update."""

    def seconds(
        self,
        prompt_tokens: float,
        generated_tokens: float,
        trained_prompt_tokens: float,
        trained_response_tokens: float,
        updates: float,
        *,
        prompt_pairs: float = 0,
        trained_pairs: float = 0,
    ) -> float:
        """Return the least seconds for this work; without the pairs attention counts as free.

        Args:
            prompt_tokens: of the prompts sampled from, each prompt once for all its responses.
            generated_tokens: of all responses sampled.
            trained_prompt_tokens: of the prompts of the rankings, once a ranking.
            trained_response_tokens: of all responses in the rankings.
            updates: optimizer steps.
            prompt_pairs: query-key pairs within the prompts sampled from.
            trained_pairs: query-key pairs of the rankings, each prompt once.
        """
        trained = trained_prompt_tokens + trained_response_tokens
        # The first token of a response comes with the prompt's last logits. Counting a decode
        # step for it stands for those.
        prefill = self.products.forward(prompt_tokens, 0, prompt_pairs)
        training = self.products.training(trained, trained_response_tokens, trained_pairs)
        decoding = generated_tokens * self.decode_seconds
        return (prefill + training) / self.peak + decoding + updates * self.optimizer_seconds


def products(model: Any) -> Products:
    """Count the matrix products of a transformers model, plain or with LoRA adapters.

    Experts that are not linear modules of their own are not seen.
    """
    body, adapter = _linear(model)
    return Products(
        body=sum(map(_operations, body)),
        adapter=sum(map(_operations, adapter)),
        head=_operations(model.get_output_embeddings()),
        pair=_pair(model.config.get_text_config()),
        frozen=not any(module.weight.requires_grad for module in body),
    )


def widths(model: Any) -> list[tuple[int, int]]:
    """Return the distinct shapes, in and out, of the linear layers of the blocks; widest first."""
    body, _ = _linear(model)
    return sorted({_shape(module) for module in body}, key=math.prod, reverse=True)


def _linear(model: Any) -> tuple[list[Any], list[Any]]:
    """Return the linear layers of the blocks, and the adapters'."""
    head = model.get_output_embeddings()
    found = [
        (ADAPTER in name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    ]
    return [m for adapter, m in found if not adapter], [m for adapter, m in found if adapter]


def _operations(module: Any) -> float:
    """Two a weight and token."""
    return 2.0 * math.prod(_shape(module))


def _shape(module: Any) -> tuple[int, int]:
    """As declared, for the weight itself may be sharded and empty here."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    return int(module.nx), int(module.nf)


def _pair(config: Any) -> float:
    heads = int(config.num_attention_heads)
    size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    return 4.0 * int(config.num_hidden_layers) * heads * size
