"""Token-mean log-probabilities of responses, differentiable, packed under a budget of tokens.

The mask of padding is kept apart from the tokens and the mean is over a response's own tokens
(RRHF's released code divides by the padded length).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from worker.whitebox.attention import takes_trees
from worker.whitebox.logprobs import chosen_logprobs
from worker.whitebox.precision import Precision, arithmetic
from worker.whitebox.strips import SharedPrompt, Strip, Texts, inputs_of, lay, packed

CPU_PACK = 512
"""Padded tokens up to which several prompts share a pass on a CPU."""


@dataclass(frozen=True)
class Scorer:
    """How a model's log-probabilities are computed.

    `batch_tokens` bounds a forward pass: rows times the longest row.
    """

    model: Any
    precision: Precision = "float32"
    shared_prompt: SharedPrompt = "auto"
    batch_tokens: int = 32_768
    plain_head: bool = True
    """Whether the logits are the head's product and nothing else, as `has_plain_head` finds."""
    checkpointing: bool = False
    """Whether activations are computed anew for the backward pass instead of being kept."""

    def packs(self, texts: Sequence[Texts]) -> Iterator[slice]:
        """Cut a list, in order, into parts that one forward pass holds; one alone always passes.

        A CPU is busy with one prompt already, and more only leave its caches.
        """
        on_cpu = next(base_of(self.model).parameters()).device.type == "cpu"
        budget = min(self.batch_tokens, CPU_PACK) if on_cpu else self.batch_tokens
        return packed([self._size(one) for one in texts], budget)

    def parts(self, texts: Texts) -> list[Texts]:
        """Cut the responses of one prompt into parts that one forward pass holds."""
        rows, longest = self._size(texts)
        if rows * longest <= self.batch_tokens:
            return [texts]
        sizes = [self._size(texts.part(k, k + 1)) for k in range(len(texts.responses))]
        cuts = packed(sizes, self.batch_tokens)
        return [texts.part(cut.start, cut.stop) for cut in cuts]

    def means(self, texts: Sequence[Texts]) -> list[Tensor]:
        """One forward pass; the token-mean log-probabilities in nats, a tensor (K,) for each.

        The result does not depend on the order of the responses, in no bit: they are laid out in an
        order of their own.

        Raises:
            ValueError: a prompt or response is empty.
        """
        orders = [own_order(one) for one in texts]
        laid = [
            lay(Texts(one.prompt, tuple(one.responses[k] for k in order)), self.shared_prompt)
            for one, order in zip(texts, orders, strict=True)
        ]
        strips = [strip for some in laid for strip in some]
        means = torch.stack(self._of_strips(strips))
        each = torch.split(means, [len(order) for order in orders])
        return [mean[_inverse(order)] for mean, order in zip(each, orders, strict=True)]

    @torch.no_grad()
    def values(self, texts: Sequence[Texts]) -> list[list[float]]:
        """The means as numbers, in as many passes as the budget needs."""
        flat = [(i, part) for i, one in enumerate(texts) for part in self.parts(one)]
        found: list[list[float]] = [[] for _ in texts]
        for cut in self.packs([part for _, part in flat]):
            some = flat[cut]
            for (i, _), mean in zip(some, self.means([part for _, part in some]), strict=True):
                found[i] += mean.tolist()
        return found

    def _size(self, texts: Texts) -> tuple[int, int]:
        strips = lay(texts, self.shared_prompt)
        return len(strips), max(map(len, strips))

    def _of_strips(self, strips: Sequence[Strip]) -> list[Tensor]:
        """The value of each response, in the order of the strips."""
        return _response_means(self._logprobs(strips), strips)

    def _logprobs(self, strips: Sequence[Strip]) -> Tensor:
        """Log-probability of every target of all strips, (N,), in nats."""
        device = next(base_of(self.model).parameters()).device
        targets_N = torch.tensor([t for strip in strips for t in strip.targets], device=device)
        rows = [row for row, strip in enumerate(strips) for _ in strip.sources]
        places = [place for strip in strips for place in strip.sources]
        return self.run(self._inputs(strips), rows, places, targets_N)

    def _inputs(self, strips: Sequence[Strip]) -> dict[str, Any]:
        """The arguments of a forward pass."""
        base = base_of(self.model)
        return inputs_of(strips, next(base.parameters()).device, trees=takes_trees(base))

    def run(
        self, inputs: dict[str, Any], rows: list[int], places: list[int], targets_N: Tensor
    ) -> Tensor:
        """The model on these inputs: log-probability of each target after its row and place."""
        base = base_of(self.model)
        with arithmetic(base, self.precision), self._mode(base):
            if not self.plain_head:
                logits_NV = base(**inputs, use_cache=False).logits[rows, places].float()
                return torch.gather(logits_NV.log_softmax(-1), -1, targets_N[:, None])[:, 0]
            hidden_BTD = base.get_decoder()(**inputs, use_cache=False).last_hidden_state
            head = base.get_output_embeddings()
            return chosen_logprobs(at_places(hidden_BTD, rows, places), head, targets_N)

    @contextmanager
    def _mode(self, base: Any) -> Iterator[None]:
        """The library drops activations in training mode only; all dropout is off by then."""
        if not (self.checkpointing and torch.is_grad_enabled()):
            yield
            return
        base.train()
        try:
            yield
        finally:
            base.eval()


def base_of(model: Any) -> Any:
    """The model under peft's wrapper, or the model itself; its adapters stay at work."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@torch.no_grad()
def has_plain_head(model: Any) -> bool:
    """Whether the logits are the head's product, without caps or scales, on a short text."""
    base = base_of(model)
    tokens = torch.arange(4, device=next(base.parameters()).device)[None]
    hidden = base.get_decoder()(input_ids=tokens, use_cache=False).last_hidden_state
    logits: Tensor = base(input_ids=tokens, use_cache=False).logits
    return torch.allclose(base.get_output_embeddings()(hidden), logits, rtol=1e-3, atol=1e-3)


def at_places(hidden_BTD: Tensor, rows: Sequence[int], places: Sequence[int]) -> Tensor:
    """The hidden states at these places, (N, D).

    Responses share their prompt's last place, and the gradient of plain indexing adds up what meets
    in one place in whatever order the threads come; this one's order is fixed.
    """
    width = hidden_BTD.shape[1]
    flat_N = [row * width + place for row, place in zip(rows, places, strict=True)]
    index_N = torch.tensor(flat_N, device=hidden_BTD.device)
    return hidden_BTD.flatten(0, 1).index_select(0, index_N)


def _response_means(logprobs_N: Tensor, strips: Sequence[Strip]) -> list[Tensor]:
    lengths = [len(response) for strip in strips for response in strip.responses]
    return [part.mean() for part in torch.split(logprobs_N, lengths)]


def own_order(texts: Texts) -> list[int]:
    """The places of the responses in an order that does not depend on how they came."""
    found = range(len(texts.responses))
    return sorted(found, key=lambda k: (len(texts.responses[k]), texts.responses[k]))


def _inverse(order: Sequence[int]) -> list[int]:
    inverse = [0] * len(order)
    for place, k in enumerate(order):
        inverse[k] = place
    return inverse
