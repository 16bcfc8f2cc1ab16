"""Dialogues as lists of messages, the way chat endpoints take them."""

from typing import Any

from app.services.formats.dialogue import Spoken, join_turns
from app.services.formats.rows import Messages, Notes
from app.services.formats.strict import child

ROLES = ("system", "user", "assistant")
FIELDS = {"role", "content"}


def read_messages(notes: Notes, value: Any, pointer: str) -> Spoken | None:
    """Return the turns of `[{"role", "content"}, ...]`; None, and the faults noted, if unsound."""
    if not isinstance(value, list):
        notes.error("type_error", "Should be a list of messages.", pointer)
        return None
    if not value:
        notes.error("empty_messages", "There are no messages.", pointer)
        return None
    turns = [_message(notes, item, child(pointer, place)) for place, item in enumerate(value)]
    sound = [turn for turn in turns if turn is not None]
    if len(sound) < len(turns):
        return None
    joined = join_turns(sound)
    if not _opens_well(notes, joined, pointer):
        return None
    return Spoken(joined, joined=len(joined) < len(sound))


def _message(notes: Notes, item: Any, pointer: str) -> dict[str, str] | None:
    if not isinstance(item, dict):
        notes.error("type_error", "A message should be an object.", pointer)
        return None
    for key in item.keys() - FIELDS:
        message = "A message has only `role` and `content`."
        notes.error("unknown_field", message, child(pointer, key))
    role, content = item.get("role"), item.get("content")
    if role not in ROLES:
        message = f"The role should be one of {', '.join(ROLES)}."
        notes.error("unknown_role", message, child(pointer, "role"))
        return None
    if not isinstance(content, str):
        notes.error("type_error", "The content should be a string.", child(pointer, "content"))
        return None
    return {"role": role, "content": content.strip()}


def _opens_well(notes: Notes, turns: Messages, pointer: str) -> bool:
    """Whether at most one system message stands first, and only user and assistant follow it."""
    spoken = turns[1:] if turns[0]["role"] == "system" else turns
    if any(turn["role"] == "system" for turn in spoken):
        notes.error("misplaced_system", "A system message may only be the first.", pointer)
        return False
    if spoken and spoken[0]["role"] == "assistant" and len(turns) > 1:
        notes.error("user_not_first", "The first turn must be the user's.", pointer)
        return False
    return True
