r"""Whole dialogues in one string, as HH-RLHF writes them: `\n\nHuman: ...\n\nAssistant: ...`.

Departs from the cleaning that Open-Assistant and PRO published, which throws away every paragraph
but the first of a turn:

1. A turn opens only at a role tag that follows a blank line; all other text is kept.
2. Turns of one speaker in a row are joined by a blank line.
3. Both contexts of a pair must be equal, and the last turns must be the assistant's.
"""

import re
from dataclasses import dataclass

from app.services.formats.rows import Messages

TAG = re.compile(r"(?:\A\s*|\n[^\S\n]*\n)(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a text is no dialogue, or two texts no pair; `field` is the side it was seen on."""

    code: str
    message: str
    field: str


@dataclass(frozen=True, slots=True)
class Spoken:
    """The turns of a dialogue, roles alternating, and whether some had to be joined."""

    turns: Messages
    joined: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """Two replies to one context, the better one first."""

    context: Messages
    chosen: str
    rejected: str
    joined: bool


def looks_like_dialogue(text: str) -> bool:
    """Whether a text opens with a blank line and a role tag."""
    found = TAG.match(text)
    return found is not None and text.startswith("\n")


def parse_dialogue(text: str, field: str = "chosen") -> Spoken | Rejected:
    """Split a text at its role tags; texts of turns are stripped."""
    tags = list(TAG.finditer(text))
    if not tags or text[: tags[0].start()].strip():
        message = "The text must open with 'Human:' and have role tags after blank lines."
        return Rejected("not_a_dialogue", message, field)
    ends = [tag.start() for tag in tags[1:]] + [len(text)]
    turns = [
        {"role": ROLES[tag[1]], "content": text[tag.end() : end].strip()}
        for tag, end in zip(tags, ends, strict=True)
    ]
    joined = join_turns(turns)
    if joined[0]["role"] != "user":
        return Rejected("user_not_first", "The first turn must be the human's.", field)
    return Spoken(joined, joined=len(joined) < len(turns))


def join_turns(turns: Messages) -> Messages:
    """Join neighbouring turns of one role by a blank line."""
    joined: Messages = []
    for turn in turns:
        if joined and joined[-1]["role"] == turn["role"]:
            both = f"{joined[-1]['content']}\n\n{turn['content']}".strip()
            joined[-1] = {"role": turn["role"], "content": both}
        else:
            joined.append(dict(turn))
    return joined


def parse_context(text: str, field: str = "chosen") -> Spoken | Rejected:
    """Read a dialogue up to its last human turn; the reply after it, even an empty one, is cut."""
    spoken = parse_dialogue(text, field)
    if isinstance(spoken, Rejected) or spoken.turns[-1]["role"] == "user":
        return spoken
    return Spoken(spoken.turns[:-1], spoken.joined)


def pair_of(better: Spoken, worse: Spoken) -> Pair | Rejected:
    """Make a pair of two dialogues, or say why they are none."""
    for spoken, field in ((better, "chosen"), (worse, "rejected")):
        if spoken.turns[-1]["role"] != "assistant":
            return Rejected("assistant_not_last", "The last turn must be the assistant's.", field)
    if len(better.turns) != len(worse.turns):
        message = "Both dialogues must have the same number of turns."
        return Rejected("turn_counts_differ", message, "rejected")
    if better.turns[:-1] != worse.turns[:-1]:
        message = "Both dialogues must be equal up to the last turn."
        return Rejected("contexts_differ", message, "rejected")
    replies = better.turns[-1]["content"], worse.turns[-1]["content"]
    return Pair(better.turns[:-1], *replies, joined=better.joined or worse.joined)
