"""A reward model: a language model's body with a linear head that scores the end of a response.

The head reads the hidden state at the last token of the response, its end-of-turn token where the
response was not cut. ALMoST's release reads the first end token too, but hides that very position
from attention; here nothing is hidden.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from worker.whitebox.errors import ModelRejected
from worker.whitebox.precision import arithmetic
from worker.whitebox.score import Scorer, at_places, base_of
from worker.whitebox.strips import Strip, Texts

HEAD = "score"
"""The name of the head in the library's models for sequence classification."""


@dataclass(frozen=True)
class RewardScorer(Scorer):
    """Gives each response its reward, in no unit; higher is better."""

    def means(self, texts: Sequence[Texts]) -> list[Tensor]:
        """One forward pass; the rewards, a tensor (K,) for each prompt.

        Raises:
            ValueError: a prompt or response is empty.
        """
        # a strip leaves out the last token, which predicts nothing; here it is the one that is read
        return super().means([_with_one_more(one) for one in texts])

    def _of_strips(self, strips: Sequence[Strip]) -> list[Tensor]:
        base = base_of(self.model)
        inputs = self._inputs(strips)
        rows = [row for row, strip in enumerate(strips) for _ in strip.responses]
        places = [place for strip in strips for place in _ends(strip)]
        with arithmetic(base, self.precision), self._mode(base):
            hidden_BTD = base.base_model(**inputs, use_cache=False).last_hidden_state
            reward_N1 = getattr(base, HEAD)(at_places(hidden_BTD, rows, places))
        return list(reward_N1.float().squeeze(-1))


def _with_one_more(texts: Texts) -> Texts:
    return Texts(texts.prompt, tuple((*response, 0) for response in texts.responses if response))


def _ends(strip: Strip) -> list[int]:
    """The place of the last token of each response."""
    found, at = [], -1
    for response in strip.responses:
        at += len(response)
        found.append(strip.sources[at])
    return found


def reward_model_of(causal: Any, seed: int) -> Any:
    """Put a fresh head, drawn from `seed`, on the body of a causal model; its memory is shared.

    Raises:
        ModelRejected: the library has no such model for this architecture.
    """
    config = copy.deepcopy(causal.config)
    kind = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(config), None)
    if kind is None:
        raise ModelRejected(f"there is no reward model of the kind {config.model_type!r}")
    config.num_labels = 1
    if config.pad_token_id is None:
        config.pad_token_id = _one(config.eos_token_id)
    model = kind.from_pretrained(
        None, config=config, state_dict=_body(causal) | _head(config, seed), dtype=torch.float32
    )
    return require_head(model).eval()


def require_head(model: Any) -> Any:
    """Return the model if its head is one linear score.

    Raises:
        ModelRejected: it is not.
    """
    head = getattr(model, HEAD, None)
    if type(head) is not torch.nn.Linear or head.out_features != 1:
        raise ModelRejected("a reward model has one linear head named `score` with one output")
    return model


def _body(causal: Any) -> dict[str, Tensor]:
    head = causal.get_output_embeddings()
    names = {f"{name}.weight" for name, module in causal.named_modules() if module is head}
    return {name: value for name, value in causal.state_dict().items() if name not in names}


def _head(config: Any, seed: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    weight_1D = torch.randn(1, config.hidden_size, generator=draw) / (config.hidden_size + 1) ** 0.5
    return {f"{HEAD}.weight": weight_1D}


def _one(ids: int | list[int] | None) -> int:
    return (ids[0] if isinstance(ids, list) else ids) or 0
