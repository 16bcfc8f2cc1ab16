"""Turns a dialogue into token ids, and sampled ids into text.

Sampled ids are never decoded and encoded again: a training sequence is the prompt's ids and the
response's ids, so the boundary cannot shift (PRO's released code joins and re-tokenises text).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from worker.cycle.types import Dialogue, Message
from worker.whitebox.errors import ModelRejected, NoRoom

ChatStyle = Literal["template", "plain"]

PLAIN_NAMES = {"user": "Human", "assistant": "Assistant", "system": "System"}
PLAIN_STOPS = ("\n\nHuman:",)
PROBE = "ANSWER"


@dataclass(frozen=True)
class Chat:
    """How one model is spoken to."""

    tokenizer: Any
    style: ChatStyle
    end_id: int
    """The token that closes a response in training."""
    stop_ids: frozenset[int]
    """Tokens that end a sampled response; they stay in it."""
    stop_strings: tuple[str, ...]
    """Texts that end a sampled response; they are cut off, with their tokens."""

    def prompt_ids(self, messages: Dialogue, limit: int) -> tuple[int, ...]:
        """At most `limit` ids, cut from the left: first whole turns, then tokens.

        A leading system message stays as long as turns can go; a beginning-of-sequence token that
        the tokenizer adds always stays.

        Raises:
            NoRoom: `limit` is below 1.
        """
        if limit < 1:
            raise NoRoom(f"the length limit leaves {limit} tokens for the prompt")
        ids = self._encode(messages)
        while len(ids) > limit and (shorter := _without_oldest_turn(messages)):
            messages, ids = shorter, self._encode(shorter)
        return ids if len(ids) <= limit else self._cut(ids, limit)

    def response_ids(self, text: str, limit: int) -> tuple[int, ...]:
        """A text of our own (the teacher's) as a response: alone, without special tokens, then end.

        Raises:
            NoRoom: `limit` is below 1.
        """
        if limit < 1:
            raise NoRoom(f"the length limit leaves {limit} tokens for the response")
        lead = " " if self.style == "plain" else ""
        ids = self.tokenizer(lead + text, add_special_tokens=False, split_special_tokens=True)
        return (*ids.input_ids, self.end_id)[:limit]

    def text(self, tokens: Sequence[int]) -> str:
        """The response as people read it: no special tokens, no surrounding white space."""
        return self._decode(tokens).strip()

    def ended(self, tokens: Sequence[int]) -> bool:
        """Whether the last of `tokens` completes the response."""
        if tokens[-1] in self.stop_ids:
            return True
        if not self.stop_strings:
            return False
        # a token is a character or more of these plain texts: older ones hold no fresh stop
        tail = self._decode(tokens[-2 * max(map(len, self.stop_strings)) :])
        return any(stop in tail for stop in self.stop_strings)

    def without_stop(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The tokens before a stop string, at least one; all of them where there is none."""
        text = self._decode(tokens)
        starts = [at for stop in self.stop_strings if (at := text.find(stop)) >= 0]
        if not starts:
            return tuple(tokens)
        kept = len(tokens)
        while kept > 1 and len(self._decode(tokens[:kept])) > min(starts):
            kept -= 1
        return tuple(tokens[:kept])

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def _encode(self, messages: Dialogue) -> tuple[int, ...]:
        safe = tuple(Message(m.role, _disarmed(self.tokenizer, m.content)) for m in messages)
        if self.style == "plain":
            return tuple(self.tokenizer(_plain(safe)).input_ids)
        text = _templated(self.tokenizer, safe, ask=True)
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _cut(self, ids: tuple[int, ...], limit: int) -> tuple[int, ...]:
        if limit > 1 and _adds_bos(self.tokenizer) and ids[0] == self.tokenizer.bos_token_id:
            return (ids[0], *ids[len(ids) - limit + 1 :])
        return ids[len(ids) - limit :]


def open_chat(
    tokenizer: Any,
    style: Literal["auto", "template", "plain"] = "auto",
    stop_ids: Collection[int] = (),
) -> Chat:
    """Decide how to speak to a model; `stop_ids` are further end tokens its configuration names.

    Raises:
        ModelRejected: `template` without a chat template, or a model without an end token.
    """
    if style == "template" and not tokenizer.chat_template:
        raise ModelRejected("the model has no chat template; choose the chat style `plain`")
    if style == "auto":
        style = "template" if tokenizer.chat_template else "plain"
    end_id = _end_of_turn(tokenizer) if style == "template" else tokenizer.eos_token_id
    if end_id is None:
        raise ModelRejected("the tokenizer names no end token")
    stops = frozenset({end_id, *stop_ids, tokenizer.eos_token_id} - {None})
    return Chat(tokenizer, style, end_id, stops, PLAIN_STOPS if style == "plain" else ())


def _plain(messages: Dialogue) -> str:
    """The dialogue as HH-RLHF writes it, up to the tag of the answer."""
    turns = "".join(f"\n\n{PLAIN_NAMES[m.role]}: {m.content}" for m in messages)
    return f"{turns}\n\nAssistant:"


def _templated(tokenizer: Any, messages: Dialogue, *, ask: bool) -> str:
    turns = [{"role": m.role, "content": m.content} for m in messages]
    return str(tokenizer.apply_chat_template(turns, add_generation_prompt=ask, tokenize=False))


def _end_of_turn(tokenizer: Any) -> Any:
    """The special token that the template writes after an answer, else the end of the sequence."""
    messages = (Message("user", "Q"), Message("assistant", PROBE))
    after = _templated(tokenizer, messages, ask=False).rpartition(PROBE)[2]
    ids = tokenizer(after, add_special_tokens=False).input_ids
    special = [i for i in ids if i in tokenizer.all_special_ids]
    return special[0] if special else tokenizer.eos_token_id


def _disarmed(tokenizer: Any, text: str) -> str:
    """A user's text must not open or close turns: special tokens in it are broken up."""
    for token in tokenizer.all_special_tokens:
        text = text.replace(token, f"{token[:1]} {token[1:]}")
    return text


def _adds_bos(tokenizer: Any) -> bool:
    bos = tokenizer.bos_token_id
    return bos is not None and tokenizer("a").input_ids[0] == bos


def _without_oldest_turn(messages: Dialogue) -> Dialogue | None:
    """The dialogue from its second user turn on, with its system message; None if there is none."""
    system = messages[:1] if messages[0].role == "system" else ()
    users = [i for i, message in enumerate(messages) if message.role == "user"]
    return (*system, *messages[users[1] :]) if len(users) > 1 else None
