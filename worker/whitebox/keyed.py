"""The draw of every sampler, ours and the library's: each row's token by its own seed."""

from collections.abc import Sequence

import torch
from torch import Tensor

from worker.whitebox.chat import Chat
from worker.whitebox.draw import draw_and_tell, uniforms
from worker.whitebox.sample import Drawn, Generation, Row


class Keyed:
    """Responses that grow by what is drawn here, from raw logits."""

    def __init__(
        self, rows: Sequence[Row], chat: Chat, generation: Generation, device: torch.device
    ) -> None:
        most = generation.max_new_tokens
        self.drawn = [Drawn() for _ in rows]
        self._limits = [min(row.limit or most, most) for row in rows]
        self._chat = chat
        self._generation = generation
        self._uniform_RT = uniforms([row.seed for row in rows], most).to(device)

    def complete(self, row: int) -> bool:
        """Whether this response has its end or reached its limit."""
        return self.drawn[row].ended or len(self.drawn[row].tokens) >= self._limits[row]

    def take(self, rows: Sequence[int], logits_RV: Tensor) -> Tensor:
        """Draw the next token of these rows from their raw logits and keep it; shape (R,).

        A row that is complete gets a token as well, which is not kept.
        """
        last = self._generation.max_new_tokens - 1
        places = [min(len(self.drawn[row].tokens), last) for row in rows]
        uniform_R = self._uniform_RT[list(rows), places]
        generation = self._generation
        law = generation.temperature, generation.top_p
        token_R, logprob_R = draw_and_tell(logits_RV, uniform_R, *law)
        for row, token, logprob in zip(rows, token_R.tolist(), logprob_R.tolist(), strict=True):
            self._keep(row, token, logprob)
        return token_R

    def _keep(self, row: int, token: int, logprob: float) -> None:
        if self.complete(row):
            return
        drawn = self.drawn[row]
        drawn.tokens.append(token)
        drawn.logprobs.append(logprob)
        drawn.ended = self._chat.ended(drawn.tokens)


def only(token_R: Tensor, scores_RV: Tensor) -> Tensor:
    """Scores that leave one token a row possible."""
    return torch.full_like(scores_RV, float("-inf")).scatter_(-1, token_R[:, None], 0.0)
