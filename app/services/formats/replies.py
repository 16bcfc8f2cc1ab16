"""The replies of a record and their order: a pair, a ranking in groups, or scores."""

from dataclasses import dataclass
from typing import Any

from app.services.formats.chat import read_messages
from app.services.formats.dialogue import Pair, Rejected, Spoken, pair_of, parse_dialogue
from app.services.formats.rows import Groups, Messages, Notes
from app.services.formats.strict import child

MIN_REPLIES, MAX_REPLIES = 2, 64
MAX_LETTERS = 100_000


@dataclass(frozen=True, slots=True)
class Replies:
    """Different replies, ordered best to worst by groups of positions; one alone for a dialogue."""

    responses: list[str]
    ranking: Groups
    scores: list[float] | None = None


def read_pair(notes: Notes, record: dict[str, Any]) -> Pair | None:
    """Read `chosen` and `rejected` as whole dialogues, in HH-RLHF's text or as messages."""
    sides = [read_dialogue(notes, record, name) for name in ("chosen", "rejected")]
    better, worse = sides
    if better is None or worse is None:
        return None
    pair = pair_of(better, worse)
    if isinstance(pair, Rejected):
        note_rejected(notes, pair)
        return None
    return pair


def note_rejected(notes: Notes, why: Rejected) -> None:
    """Note why a dialogue or a pair was rejected."""
    notes.error(why.code, why.message, child("", why.field))


def replies_of_pair(notes: Notes, pair: Pair) -> Replies | None:
    """Return the two replies, the chosen one first."""
    return _sound(notes, Replies([pair.chosen, pair.rejected], [[0], [1]]), ("chosen", "rejected"))


def read_replies(notes: Notes, record: dict[str, Any], context: Messages) -> Replies | None:
    """Read the replies of a record whose context stands in `prompt` or `messages`."""
    if "responses" in record:
        return _ranked(notes, record)
    if "chosen" not in record and "rejected" not in record:
        message = "There are no replies: give 'responses', or 'chosen' and 'rejected'."
        notes.error("missing", message, "/responses")
        return None
    texts = [_reply(notes, record, name, context) for name in ("chosen", "rejected")]
    better, worse = texts
    if better is None or worse is None:
        return None
    return _sound(notes, Replies([better, worse], [[0], [1]]), ("chosen", "rejected"))


def read_dialogue(notes: Notes, record: dict[str, Any], name: str) -> Spoken | None:
    """Read a whole dialogue, in HH-RLHF's text or as messages."""
    value = record.get(name)
    if value is None:
        notes.error("missing", f"The field {name!r} is missing.", child("", name))
        return None
    if not isinstance(value, str):
        return read_messages(notes, value, child("", name))
    spoken = parse_dialogue(value, name)
    if isinstance(spoken, Rejected):
        note_rejected(notes, spoken)
        return None
    return spoken


def _reply(notes: Notes, record: dict[str, Any], name: str, context: Messages) -> str | None:
    """Return one reply: a string, a single assistant message, or the context with the reply."""
    value = record.get(name)
    if isinstance(value, str):
        return value.strip()
    if not isinstance(value, list):
        code = "missing" if value is None else "type_error"
        notes.error(code, f"{name!r} should be a string or a list of messages.", child("", name))
        return None
    spoken = read_messages(notes, value, child("", name))
    if spoken is None:
        return None
    *before, last = spoken.turns
    if last["role"] != "assistant":
        message = "The last turn must be the assistant's."
        notes.error("assistant_not_last", message, child("", name))
    elif before and before != context:
        message = "The turns before the reply must be those of the prompt."
        notes.error("contexts_differ", message, child("", name))
    return last["content"]


def single_reply(notes: Notes, value: Any, pointer: str) -> Replies | None:
    """Return the one reply of a dialogue."""
    if not isinstance(value, str):
        notes.error("type_error", "The reply should be a string.", pointer)
        return None
    text = value.strip()
    _check_text(notes, text, pointer)
    return None if notes.lost else Replies([text], [[0]])


def _ranked(notes: Notes, record: dict[str, Any]) -> Replies | None:
    responses = _responses(notes, record["responses"])
    if responses is None:
        return None
    if ("ranking" in record) == ("scores" in record):
        message = "Give either 'ranking' (positions, best first) or 'scores' (higher is better)."
        notes.error("order_required", message, "/ranking")
        return None
    if "ranking" in record:
        ranking = _groups(notes, record["ranking"], len(responses))
        return _sound(notes, Replies(responses, ranking), ()) if ranking else None
    scores = _scores(notes, record["scores"], len(responses))
    return _sound(notes, Replies(responses, by_score(scores), scores), ()) if scores else None


def _responses(notes: Notes, value: Any) -> list[str] | None:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        notes.error("type_error", "'responses' should be a list of strings.", "/responses")
        return None
    if not MIN_REPLIES <= len(value) <= MAX_REPLIES:
        message = f"There should be {MIN_REPLIES} to {MAX_REPLIES} responses."
        notes.error("invalid_length", message, "/responses")
        return None
    return [item.strip() for item in value]


def _groups(notes: Notes, value: Any, count: int) -> Groups | None:
    """Read `[2, [0, 1], 3]`: positions, and lists of tied positions, each position once."""
    items: list[Any] = value if isinstance(value, list) else [None]
    groups = [item if isinstance(item, list) else [item] for item in items]
    places: list[Any] = [place for group in groups for place in group]
    if any(type(place) is not int for place in places):
        message = "'ranking' should be a list of positions, or of lists of tied positions."
        notes.error("type_error", message, "/ranking")
        return None
    if sorted(places) != list(range(count)) or not all(groups):
        message = f"'ranking' should name every position from 0 to {count - 1} once."
        notes.error("invalid_ranking", message, "/ranking")
        return None
    return [sorted(group) for group in groups]


def _scores(notes: Notes, value: Any, count: int) -> list[float] | None:
    numbers = isinstance(value, list) and all(type(item) in {int, float} for item in value)
    if not numbers:
        notes.error("type_error", "'scores' should be a list of numbers.", "/scores")
        return None
    if len(value) != count:
        message = f"There should be {count} scores, one a response."
        notes.error("invalid_length", message, "/scores")
        return None
    return [float(item) for item in value]


def by_score(scores: list[float]) -> Groups:
    """Return positions by falling score; equal scores are a tie."""
    return [
        [place for place, score in enumerate(scores) if score == level]
        for level in sorted(set(scores), reverse=True)
    ]


def _sound(notes: Notes, replies: Replies, names: tuple[str, ...]) -> Replies | None:
    """Check what every way of giving replies has in common."""
    places = names or tuple(f"responses/{place}" for place in range(len(replies.responses)))
    for place, text in zip(places, replies.responses, strict=True):
        _check_text(notes, text, f"/{place}")
    if len(set(replies.responses)) < len(replies.responses):
        notes.error("equal_replies", "Two replies are the same.", f"/{places[-1]}")
    if len(replies.ranking) == 1:
        notes.error("no_order", "All replies are tied; none is better.", "/ranking")
    return None if notes.lost else replies


def _check_text(notes: Notes, text: str, pointer: str) -> None:
    if not text:
        notes.error("empty_reply", "The reply is empty.", pointer)
    elif len(text) > MAX_LETTERS:
        message = f"The reply is longer than {MAX_LETTERS} letters."
        notes.error("reply_too_long", message, pointer)
