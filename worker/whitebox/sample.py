"""The decode loop: many prompts, several candidates each, one batch on a key-value cache.

Each distinct prompt is prefilled once and its cache repeated for its candidates; finished rows
leave the batch as soon as that saves more than it costs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from worker.whitebox.cache import make_room
from worker.whitebox.chat import Chat
from worker.whitebox.draw import draw, uniforms
from worker.whitebox.errors import Interrupted
from worker.whitebox.precision import Precision, arithmetic

COMPACT_AT = 0.25
"""The share of finished rows from which copying the cache is cheaper than carrying them along."""


@dataclass(frozen=True)
class Generation:
    """How responses are sampled."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 128
    max_length: int = 512
    """Prompt and response together, in tokens; longer prompts are cut from the left."""
    batch_tokens: int = 32_768
    """Rows times their longest length; more rows are sampled in several batches."""
    precision: Precision = "float32"

    @property
    def prompt_limit(self) -> int:
        """The longest prompt that leaves room for a whole response."""
        return self.max_length - self.max_new_tokens


@dataclass(frozen=True)
class Row:
    """One response to sample."""

    prompt: tuple[int, ...]
    seed: int


@dataclass
class Drawn:
    """A response as it grows."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    """Raw temperature-1 log-probability of each token, in nats."""
    ended: bool = False
    """Whether the model ended by itself."""


def never() -> bool:
    """The caller never asks to stop."""
    return False


def sample_rows(
    model: Any,
    chat: Chat,
    rows: Sequence[Row],
    generation: Generation,
    interrupted: Callable[[], bool] = never,
) -> list[Drawn]:
    """Sample every row; the result does not depend on how rows share batches.

    Raises:
        Interrupted: `interrupted` answered true; it is asked before every token.
    """
    drawn: list[Drawn] = []
    for batch in _batches(rows, generation):
        decoding = Decoding(model, chat, batch, generation)
        while decoding.running:
            if interrupted():
                raise Interrupted("sampling was interrupted")
            decoding.step()
        drawn += decoding.drawn
    return drawn


class Decoding:
    """One batch in the middle of sampling; `drawn` grows by a token a row with every step."""

    def __init__(self, model: Any, chat: Chat, rows: Sequence[Row], generation: Generation) -> None:
        self.drawn = [Drawn() for _ in rows]
        self._model = model
        self._chat = chat
        self._generation = generation
        self._device = next(model.parameters()).device
        self._alive = list(range(len(rows)))
        """The row of `drawn` that each row of the batch belongs to."""
        self._uniform_RT = self._put(uniforms([r.seed for r in rows], generation.max_new_tokens))
        self._length = 0
        self._prefill(rows)

    @property
    def running(self) -> bool:
        """Whether any response can still grow."""
        full = self._length >= self._generation.max_new_tokens
        return not full and any(not self.drawn[row].ended for row in self._alive)

    @torch.inference_mode()
    def step(self) -> None:
        """Draw the next token of every row, drop rows that are done, and run the model on it."""
        generation = self._generation
        token_R = draw(
            self._logits_RV,
            self._uniform_RT[:, self._length],
            generation.temperature,
            generation.top_p,
        )
        self._record(token_R)
        self._length += 1
        if not self.running:
            return
        token_R = self._compact(token_R)
        self._feed(token_R)

    @torch.inference_mode()
    def _prefill(self, rows: Sequence[Row]) -> None:
        prompts = list(dict.fromkeys(row.prompt for row in rows))
        tokens_PT, mask_PT = _left_padded(prompts, self._device)
        self._cache = DynamicCache(config=self._model.config)
        logits_PV = self._forward(tokens_PT, mask_PT, (mask_PT.cumsum(-1) - 1).clamp(min=0))
        place = {prompt: i for i, prompt in enumerate(prompts)}
        chosen_R = self._put(torch.tensor([place[row.prompt] for row in rows]))
        self._cache.batch_select_indices(chosen_R)
        make_room(self._cache, tokens_PT.shape[1] + self._generation.max_new_tokens)
        self._mask_RT = mask_PT[chosen_R]
        self._logits_RV = logits_PV[chosen_R]
        self._position_R = self._mask_RT.sum(-1)

    def _record(self, token_R: Tensor) -> None:
        chosen_R = self._logits_RV.gather(-1, token_R[:, None]).squeeze(-1)
        logprob_R = chosen_R - self._logits_RV.logsumexp(-1)
        pairs = zip(token_R.tolist(), logprob_R.tolist(), strict=True)
        for row, (token, logprob) in zip(self._alive, pairs, strict=True):
            drawn = self.drawn[row]
            if drawn.ended:
                continue
            drawn.tokens.append(token)
            drawn.logprobs.append(logprob)
            drawn.ended = self._chat.ended(drawn.tokens)

    def _compact(self, token_R: Tensor) -> Tensor:
        keep = [i for i, row in enumerate(self._alive) if not self.drawn[row].ended]
        if len(self._alive) - len(keep) < COMPACT_AT * len(self._alive):
            return token_R
        kept_R = self._put(torch.tensor(keep))
        self._alive = [self._alive[i] for i in keep]
        self._cache.batch_select_indices(kept_R)
        self._mask_RT = self._mask_RT[kept_R]
        self._position_R = self._position_R[kept_R]
        self._uniform_RT = self._uniform_RT[kept_R]
        return token_R[kept_R]

    def _feed(self, token_R: Tensor) -> None:
        self._mask_RT = torch.nn.functional.pad(self._mask_RT, (0, 1), value=1)
        self._logits_RV = self._forward(token_R[:, None], self._mask_RT, self._position_R[:, None])
        self._position_R = self._position_R + 1

    def _forward(self, tokens_RT: Tensor, mask_RT: Tensor, position_RT: Tensor) -> Tensor:
        """Run the model on new tokens and return the float32 logits after the last, (R, V)."""
        with arithmetic(self._device, self._generation.precision):
            out = self._model(
                input_ids=tokens_RT,
                attention_mask=mask_RT,
                position_ids=position_RT,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        logits_RV: Tensor = out.logits[:, -1].float()
        return logits_RV

    def _put(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device)


def _batches(rows: Sequence[Row], generation: Generation) -> Iterator[Sequence[Row]]:
    """Cut the rows, in order, into batches within the token budget; a row alone always fits."""
    start, longest = 0, 0
    for i, row in enumerate(rows):
        longest = max(longest, len(row.prompt) + generation.max_new_tokens)
        if i > start and (i + 1 - start) * longest > generation.batch_tokens:
            yield rows[start:i]
            start, longest = i, len(row.prompt) + generation.max_new_tokens
    if rows:
        yield rows[start:]


def _left_padded(prompts: Sequence[tuple[int, ...]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens and mask, both (P, T); padding is token 0 and masked."""
    width = max(map(len, prompts))
    tokens = [[0] * (width - len(p)) + list(p) for p in prompts]
    mask = [[0] * (width - len(p)) + [1] * len(p) for p in prompts]
    return torch.tensor(tokens, device=device), torch.tensor(mask, device=device)
