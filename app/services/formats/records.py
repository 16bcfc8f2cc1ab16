"""One line of a dataset as a row: JSON records of every accepted shape, and plain text.

The context stands in `prompt` (a string or messages), in `messages`, or inside `chosen` and
`rejected` as whole dialogues. A dataset of prompts reads no replies, so nothing is wrong with them
there.
"""

from typing import Any

from app.services.formats.chat import read_messages
from app.services.formats.dialogue import Rejected, Spoken, looks_like_dialogue, parse_context
from app.services.formats.fields import check_names, read_labels
from app.services.formats.lines import Line
from app.services.formats.replies import (
    MAX_LETTERS,
    Replies,
    note_rejected,
    read_dialogue,
    read_pair,
    read_replies,
    replies_of_pair,
    single_reply,
)
from app.services.formats.rows import Kind, Messages, Notes, Reading, Row
from app.services.formats.strict import child, parse_object


def read_record(line: Line, kind: Kind) -> Reading:
    """Read one JSON record."""
    notes = Notes(line.number, line.text)
    record = parse_object(notes)
    if record is None:
        return notes.reading(None)
    check_names(notes, record)
    labels = read_labels(notes, record)
    if kind == "prompts":
        return _finish(notes, _prompt(notes, record), None, labels)
    if kind == "dialogues":
        return _finish(notes, *_context_and_reply(notes, record), labels)
    return _finish(notes, *_context_and_replies(notes, record), labels)


def read_text(line: Line) -> Reading:
    """Read one line of plain text, which is one prompt."""
    notes = Notes(line.number, line.text)
    return _finish(notes, Spoken(_user(line.text), joined=False), None, {})


def _user(text: str) -> Messages:
    return [{"role": "user", "content": text.strip()}]


def _prompt(notes: Notes, record: dict[str, Any]) -> Spoken | None:
    """Read the context alone; a reply that trails it is cut."""
    if "prompt" in record or "messages" in record:
        return _own_context(notes, record)
    chosen = record.get("chosen")
    if chosen is None:
        _missing(notes)
        return None
    if not isinstance(chosen, str):
        return _cut(read_messages(notes, chosen, "/chosen"))
    return _accept(notes, parse_context(chosen))


def _context_and_replies(
    notes: Notes, record: dict[str, Any]
) -> tuple[Spoken | None, Replies | None]:
    if "prompt" in record or "messages" in record:
        context = _own_context(notes, record)
        replies = read_replies(notes, record, context.turns) if context else None
        return context, replies
    if "chosen" not in record and "rejected" not in record:
        _missing(notes)
        return None, None
    pair = read_pair(notes, record)
    if pair is None:
        return None, None
    return Spoken(pair.context, pair.joined), replies_of_pair(notes, pair)


def _context_and_reply(
    notes: Notes, record: dict[str, Any]
) -> tuple[Spoken | None, Replies | None]:
    """Read a dialogue that ends with the reply to imitate: of a pair, the chosen one."""
    if record.get("is_safe") is False:
        message = "The response is marked unsafe, so it is nothing to imitate."
        notes.error("unsafe_reply", message, "/is_safe")
    if "response" in record and not record.keys().isdisjoint({"prompt", "messages"}):
        context = _own_context(notes, record)
        return context, single_reply(notes, record["response"], "/response")
    name = "messages" if "messages" in record else "chosen"
    if name not in record:
        message = "There is no dialogue: give 'messages', 'chosen', or 'prompt' and 'response'."
        notes.error("missing", message, "/messages")
        return None, None
    spoken = read_dialogue(notes, record, name)
    if spoken is None:
        return None, None
    *before, last = spoken.turns
    if last["role"] != "assistant":
        message = "The last turn must be the assistant's."
        notes.error("assistant_not_last", message, child("", name))
    return Spoken(before, spoken.joined), single_reply(notes, last["content"], child("", name))


def _missing(notes: Notes) -> None:
    message = "There is no prompt: give 'prompt', 'messages', or dialogues in 'chosen'."
    notes.error("missing", message, "/prompt")


def _own_context(notes: Notes, record: dict[str, Any]) -> Spoken | None:
    """Read `prompt` or `messages`; a trailing reply of an assistant is cut and counted."""
    if "prompt" in record and "messages" in record:
        message = "Give either 'prompt' or 'messages'; both were given."
        notes.error("ambiguous_prompt", message, "/messages")
        return None
    name = "prompt" if "prompt" in record else "messages"
    value, pointer = record[name], child("", name)
    if name == "prompt" and isinstance(value, str):
        if looks_like_dialogue(value):
            return _accept(notes, parse_context(value, name))
        return Spoken(_user(value), joined=False)
    if name == "prompt" and not isinstance(value, list):
        notes.error("type_error", "'prompt' should be a string or a list of messages.", pointer)
        return None
    spoken = read_messages(notes, value, pointer)
    cut = _cut(spoken)
    if cut is not spoken:
        message = "The list ended with an assistant's turn, which was cut."
        notes.warn("trailing_reply_cut", message, pointer)
    return cut


def _cut(spoken: Spoken | None) -> Spoken | None:
    if spoken is None or spoken.turns[-1]["role"] != "assistant":
        return spoken
    return Spoken(spoken.turns[:-1], spoken.joined)


def _accept(notes: Notes, spoken: Spoken | Rejected) -> Spoken | None:
    if isinstance(spoken, Rejected):
        note_rejected(notes, spoken)
        return None
    return spoken


def _finish(
    notes: Notes, context: Spoken | None, replies: Replies | None, labels: dict[str, Any]
) -> Reading:
    """Check what all contexts have in common and close the line."""
    if context is None or not _sound(notes, context):
        return notes.reading(None)
    row = Row(
        notes.line,
        context.turns,
        responses=replies.responses if replies else None,
        ranking=replies.ranking if replies else None,
        scores=replies.scores if replies else None,
        **labels,
    )
    return notes.reading(row)


def _sound(notes: Notes, context: Spoken) -> bool:
    turns = context.turns
    if not turns or turns[-1]["role"] != "user":
        notes.error("no_user_turn", "The prompt must end with the user's turn.")
    elif not turns[-1]["content"]:
        notes.error("empty_prompt", "The prompt is empty.")
    if sum(len(turn["content"]) for turn in turns) > MAX_LETTERS:
        notes.error("prompt_too_long", f"The prompt is longer than {MAX_LETTERS} letters.")
    if context.joined:
        notes.warn("turns_joined", "Neighbouring turns of one speaker were joined.")
    if any(not turn["content"] for turn in turns[:-1]):
        notes.warn("empty_turn", "A turn before the last one is empty.")
    return not notes.lost
