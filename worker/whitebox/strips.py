"""How a prompt and responses to it lie in the model's rows: each whole, or all behind one prompt.

Behind one prompt (a "tree") the responses see the prompt and themselves, not one another; positions
go on from the prompt's end, so that values and gradients are those of separate rows while the
prompt is computed once. Padding stands on the right, where no real token sees it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from worker.whitebox.tree import Tree

SharedPrompt = Literal["auto", "on", "off"]
WORTH = 1.3
"""The saving of tokens from which one row with a mask is faster than plain ones, as measured."""


@dataclass(frozen=True)
class Texts:
    """The tokens of a prompt and of responses to it."""

    prompt: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]

    @property
    def separate(self) -> int:
        """Tokens if each response stands behind a prompt of its own."""
        return sum(len(self.prompt) + len(response) for response in self.responses)

    @property
    def together(self) -> int:
        """Tokens if all of them stand behind one prompt."""
        return len(self.prompt) + sum(map(len, self.responses))

    def part(self, start: int, end: int) -> "Texts":
        """The prompt with some of the responses."""
        return Texts(self.prompt, self.responses[start:end])


@dataclass(frozen=True)
class Strip:
    """One row: a prompt and one or more responses, without the tokens that predict nothing."""

    prompt: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        """Tokens that the model runs on: the last of a response predicts nothing."""
        return len(self.prompt) + sum(len(response) - 1 for response in self.responses)

    @property
    def tokens(self) -> list[int]:
        """The input."""
        return [*self.prompt, *(token for r in self.responses for token in r[:-1])]

    @property
    def targets(self) -> list[int]:
        """All response tokens, in order."""
        return [token for response in self.responses for token in response]

    @property
    def positions(self) -> list[int]:
        """Where each token stands for the model: every response begins after the prompt."""
        start = len(self.prompt)
        inside = (i for r in self.responses for i in range(start, start + len(r) - 1))
        return [*range(start), *inside]

    @property
    def segments(self) -> list[int]:
        """0 for the prompt, k + 1 for response k."""
        parts = (k + 1 for k, r in enumerate(self.responses) for _ in r[:-1])
        return [*(0 for _ in self.prompt), *parts]

    @property
    def tree(self) -> Tree:
        """How it is attended to."""
        return Tree(len(self.prompt), tuple(len(response) - 1 for response in self.responses))

    @property
    def sources(self) -> list[int]:
        """The place in the row whose hidden state predicts each target."""
        found, start, last = [], len(self.prompt), len(self.prompt) - 1
        for response in self.responses:
            found += [last, *range(start, start + len(response) - 1)]
            start += len(response) - 1
        return found


def lay(texts: Texts, shared: SharedPrompt) -> list[Strip]:
    """One strip for all responses, or one for each.

    Raises:
        ValueError: the prompt or a response is empty.
    """
    if not texts.prompt or not all(texts.responses):
        raise ValueError("an empty prompt or response has no log-probability")
    if shared == "on" or (shared == "auto" and texts.separate > WORTH * texts.together):
        return [Strip(texts.prompt, texts.responses)]
    return [Strip(texts.prompt, (response,)) for response in texts.responses]


def packed(sizes: Sequence[tuple[int, int]], budget: int) -> Iterator[slice]:
    """Cut items of (rows, longest row), in order, so that rows times longest stays in the budget.

    An item alone always passes.
    """
    start = rows = longest = 0
    for i, (more, length) in enumerate(sizes):
        if i > start and (rows + more) * max(longest, length) > budget:
            yield slice(start, i)
            start, rows, longest = i, 0, 0
        rows, longest = rows + more, max(longest, length)
    if sizes:
        yield slice(start, len(sizes))


def inputs_of(
    strips: Sequence[Strip], device: torch.device, *, trees: bool = False
) -> dict[str, Any]:
    """The model's arguments for strips: tokens (B, T), and for shared prompts a mask (B, 1, T, T).

    A model that takes trees is given one in place of the mask where there is a single strip.
    """
    width = max(map(len, strips))
    tokens_BT = _padded([strip.tokens for strip in strips], width, device)
    if all(len(strip.responses) == 1 for strip in strips):
        return {"input_ids": tokens_BT}
    positions_BT = _padded([strip.positions for strip in strips], width, device)
    inputs = {"input_ids": tokens_BT, "position_ids": positions_BT}
    if trees and len(strips) == 1 and width > len(strips[0].prompt):
        # a mask that the library passes through as it is: the tree says what sees what
        return {**inputs, "attention_mask": torch.zeros(1, 1, 1, 1), "tree": strips[0].tree}
    segments_BT = _padded([strip.segments for strip in strips], width, device)
    return {**inputs, "attention_mask": _tree_mask(segments_BT)}


def _tree_mask(segments_BT: Tensor) -> Tensor:
    """True where a row's token sees: what came before it in the prompt or in its own response."""
    same_BTT = segments_BT[:, :, None] == segments_BT[:, None, :]
    prompt_BTT = (segments_BT == 0)[:, None, :]
    seen_BTT = (same_BTT | prompt_BTT).tril()
    return seen_BTT[:, None]


def _padded(rows: Sequence[Sequence[int]], width: int, device: torch.device) -> Tensor:
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
