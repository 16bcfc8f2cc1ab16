"""What the rooms of the worker say to one another, as plain frozen records."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

Ranking = tuple[tuple[int, ...], ...]
"""Candidates best to worst; a group of several is a tie. `((1,), (0, 2))` reads 1 > 0 = 2."""


@dataclass(frozen=True)
class Message:
    """One turn of a dialogue; `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


Dialogue = tuple[Message, ...]


@dataclass(frozen=True)
class Prompt:
    """One prompt of the run, at its position (`step`); the last message is the user's."""

    step: int
    messages: Dialogue


@dataclass(frozen=True)
class At:
    """A place in the run; together with the job it keys every row, seed and judge call."""

    stage: str
    step: int
    iteration: int


@dataclass(frozen=True)
class Sample:
    """One sampled response.

    `logprob` is the sum over its tokens, in nats, of the raw temperature-1 log-probabilities
    under the weights that sampled it; `tokens` includes the end-of-turn token if one was produced.
    """

    text: str
    tokens: tuple[int, ...]
    logprob: float
    finish: str
    """`stop` when the model ended by itself, `length` when the limit cut it."""
    seed: int
    version: int
    """The weights that sampled it, counted in optimizer steps."""


@dataclass(frozen=True)
class Candidate:
    """A sample that stands before the judge, under its index `k` of this iteration."""

    k: int
    text: str
    belief: float
    """Token-mean log-probability under the weights that sampled it, in nats."""


@dataclass(frozen=True)
class Demonstration:
    """A ranked example as the judge reads it: re-indexed, shuffled, best to worst in `answer`."""

    messages: Dialogue
    responses: tuple[str, ...]
    answer: Ranking
    """Groups of positions in `responses`."""
    origin: str = "static"
    """`static`, `agreement`, `black_box` or `white_box`."""


@dataclass(frozen=True)
class Question:
    """What the judge is asked; `responses` are in presentation order."""

    messages: Dialogue
    responses: tuple[str, ...]
    demonstrations: tuple[Demonstration, ...] = ()
    wants_response: bool = False
    """Whether the judge should also write a better answer (the teacher response)."""
    form: Literal["rank", "compare", "rate", "answer"] = "rank"
    """`compare` and `rate` are of two responses, with a verdict or with scores from 1 to 10;
    `answer` asks for a reply to the dialogue itself: the teacher response of an empty ranking."""
    repeat: int = 0
    """Above zero, an answer of its own is wanted to what was asked before."""


@dataclass(frozen=True)
class Reply:
    """One answer as it came. Numbers that the judge did not tell are None.

    `finish` is `stop`, `length`, `content_filter`, `refusal` (then `text` is the refusal) or
    whatever else the judge said.
    """

    text: str
    finish: str
    tokens_in: int | None = None
    """All input tokens, the cached ones included."""
    cached_tokens_in: int | None = None
    tokens_out: int | None = None
    model: str | None = None
    """As the judge named itself."""
    fingerprint: str | None = None


@dataclass(frozen=True)
class Ranked:
    """The judge's answer, understood: groups of presented positions, best to worst."""

    ranking: Ranking
    teacher: str | None = None
    scores: tuple[float, ...] | None = None
    """One score in [0, 1] a presented response, from judges that give scores."""
    why: Mapping[str, object] = field(default_factory=dict)
    raw: str = ""


class Fault(StrEnum):
    """Why a reply of the judge could not be used; each is counted apart."""

    NOT_JSON = "not_json"
    NO_RANKING = "no_ranking"
    MISSING = "missing_ids"
    DUPLICATE = "duplicate_ids"
    FOREIGN = "foreign_ids"
    NO_VERDICT = "no_verdict"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    CONTENT_FILTER = "content_filter"
    EMPTY = "empty"


@dataclass(frozen=True)
class Malformed:
    """The judge's answer, not usable; `raw` is kept as it came."""

    fault: Fault
    detail: str
    raw: str = ""


@dataclass(frozen=True)
class Unanswered:
    """The judge did not answer after all tries, for a reason that may pass with the next prompt."""

    reason: str
    detail: str


Verdict = Ranked | Malformed | Unanswered


@dataclass(frozen=True)
class Order:
    """One order in which candidates were presented, and what the judge said of it."""

    presented: tuple[int, ...]
    """Sample indices in the order the judge saw them."""
    verdict: Verdict
    black: Ranking | None
    """The verdict as groups of sample indices; None if it is no ranking."""


@dataclass(frozen=True)
class Example:
    """A row of given responses: ranked, or one alone to imitate."""

    prompt: Prompt
    responses: tuple[str, ...]
    ranking: Ranking
    """Groups of positions in `responses`, best to worst."""
    scores: tuple[float, ...] | None = None
    """Of the responses, where they were given."""


@dataclass(frozen=True)
class TrainingRanking:
    """What enters the loss: distinct texts best to worst; ties are groups of their positions."""

    prompt: Prompt
    texts: tuple[str, ...]
    tokens: tuple[tuple[int, ...] | None, ...]
    """The sampled tokens of each text; None for the teacher response, which is tokenised anew."""
    groups: Ranking
    target: int
    """The position in `texts` that the SFT term imitates."""
    scores: tuple[float, ...] | None = None
    """The texts' scores where they were given, falling."""


@dataclass(frozen=True)
class Learned:
    """One optimizer step: losses in nats, `version` is the weights version after it."""

    version: int
    loss: float
    rank_loss: float
    sft_loss: float
    sft_weight: float
    grad_norm: float
    lr: float
    scores: tuple[float, ...]
    """Token-mean log-probabilities of the ranked texts before the step."""
