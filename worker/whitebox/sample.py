"""What is sampled, rows of one prompt and one seed each, and the common shape of samplers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from worker.cycle.types import Dialogue
from worker.whitebox.chat import Chat
from worker.whitebox.precision import Precision
from worker.whitebox.strips import Texts, packed


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
    limit: int | None = None
    """Most tokens of this response, where that is fewer than the generation's."""


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


def batches(rows: Sequence[Row], generation: Generation) -> Iterator[slice]:
    """Cut the rows, in order, into batches within the generation's budget of tokens."""
    return packed(
        [(1, len(row.prompt) + generation.max_new_tokens) for row in rows],
        generation.batch_tokens,
    )


def texts_of(
    chat: Chat,
    generation: Generation,
    messages: Dialogue,
    responses: Sequence[str | tuple[int, ...]],
) -> Texts:
    """A prompt with responses in tokens; texts are tokenised and cut to the room that there is."""
    prompt = chat.prompt_ids(messages, generation.prompt_limit)
    room = generation.max_length - len(prompt)
    found = (chat.response_ids(one, room) if isinstance(one, str) else one for one in responses)
    return Texts(prompt, tuple(found))


class Sampler(Protocol):
    """Something that samples rows under the white box's current weights."""

    def sample(
        self, rows: Sequence[Row], version: int, interrupted: Callable[[], bool] = never
    ) -> Iterator[tuple[int, Drawn]]:
        """Yield each row's index and response as soon as it is complete.

        The order depends on weights and rows alone. `version` names the weights.

        Raises:
            Interrupted: `interrupted` answered true; it is asked often.
        """
        ...


class Mute:
    """Stands where a model has nothing to say: a reward model answers no prompts."""

    def sample(
        self,
        rows: Sequence[Row],  # noqa: ARG002 - there is nothing to do with them
        version: int,  # noqa: ARG002
        interrupted: Callable[[], bool] = never,  # noqa: ARG002
    ) -> Iterator[tuple[int, Drawn]]:
        """Raises `TypeError`."""
        raise TypeError("a reward model does not sample")
