"""The built-in rubric: four plain points about a response. It is no language model.

It is deterministic, free and blind to what is true or harmful: for demos, tests and dry runs.
Words are counted as they stand between spaces and punctuation, so it suits languages that write
them apart. Each point is in [0, 1] and they count equally:

1. `ends`: the response comes to an end, with sentence punctuation or a closing quote.
2. `fresh`: 1 minus the share of three-word sequences that occurred before in the response.
3. `subject`: the content words of the last user message that appear, full marks at half of them
   or at four; nothing for an echo of the message.
4. `length`: 1 for 15 to 60 words, falling linearly to 0 at none and at 120.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from worker.blackbox.types import Request, storable_dialogue
from worker.cycle.canonical import storable
from worker.cycle.ports import Traits
from worker.cycle.ranking import is_ranking_of
from worker.cycle.types import Dialogue, Fault, Malformed, Question, Ranked, Ranking, Reply

RUBRIC_VERSION = "1"
"""Changes with any point below; part of what identifies a judge call."""

TIE = 1e-9
ENOUGH_SUBJECT_WORDS = 4
FEW_WORDS, MANY_WORDS, TOO_MANY_WORDS = 15, 60, 120

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f\"'\u201d\u2019\u00bb][)\]*_]*$")
_STOP_WORDS = frozenset(
    _WORD.findall(
        """a about all also am an and any are as at be been but by can can't could did do does don't
        for from get had has have he her him his how i if i'm in into is it it's its just like make
        may me more most much my no not of on one or our out please say she should so some such tell
        than that the their them then there these they this those to too up us very was we were what
        what's when where which who why will with would you your"""
    )
)


class RubricBox:
    """The rubric as a judge."""

    traits: ClassVar[Traits] = Traits(
        reads_demonstrations=False, writes_response=False, gives_ties=True, gives_scores=True
    )
    tries: ClassVar[int] = 1

    def request(self, question: Question, reask: tuple[str, Malformed] | None = None) -> Request:  # noqa: ARG002 - nothing to be told
        """The dialogue and the responses; demonstrations are not read and make no difference."""
        return Request(
            judge={"type": "rubric"},
            template=f"rubric-{RUBRIC_VERSION}",
            messages=storable_dialogue(question.messages),
            parameters={"responses": [storable(text) for text in question.responses]},
        )

    def ask(self, request: Request) -> Reply:
        """Score every response; the reply says why, point by point."""
        responses = request.parameters["responses"]
        assert isinstance(responses, list)
        why = [points(request.messages, text) for text in responses]
        scores = [sum(each.values()) / len(each) for each in why]
        ranking = [list(group) for group in _groups(scores)]
        text = json.dumps({"ranking": ranking, "scores": scores, "why": why})
        return Reply(text, "stop", 0, 0, 0, model=f"rubric-{RUBRIC_VERSION}")

    def read(self, reply: Reply, question: Question) -> Ranked | Malformed:
        """Read our own reply back, with scores and why; a stored one may be anything."""
        try:
            return _read(json.loads(reply.text), reply.text, len(question.responses))
        except (ValueError, TypeError, KeyError) as error:
            return Malformed(Fault.NOT_JSON, f"not a reply of the rubric: {error!r}", reply.text)


def points(messages: Dialogue, response: str) -> dict[str, float]:
    """The four points of one response; a response without a word gets none."""
    words = _words(response)
    if not words:
        return {"ends": 0.0, "fresh": 0.0, "subject": 0.0, "length": 0.0}
    asked = next((turn.content for turn in reversed(messages) if turn.role == "user"), "")
    return {
        "ends": float(_END.search(response.rstrip()) is not None),
        "fresh": _fresh(words),
        "subject": _subject(_words(asked), words),
        "length": _length(len(words)),
    }


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower().replace("\u2019", "'"))


def _trigrams(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + 3]) for i in range(len(words) - 2)]


def _fresh(words: Sequence[str]) -> float:
    """Too few words for a trigram earn nothing: there is nothing that could have been repeated."""
    trigrams = _trigrams(words)
    return len(set(trigrams)) / len(trigrams) if trigrams else 0.0


def _subject(asked: Sequence[str], words: Sequence[str]) -> float:
    content = set(asked) - _STOP_WORDS
    if not content:
        return 1.0  # a message without content words has no subject to stray from
    trigrams = _trigrams(words)
    if trigrams and set(trigrams) <= set(_trigrams(asked)):
        return 0.0
    enough = min((len(content) + 1) // 2, ENOUGH_SUBJECT_WORDS)
    return min(1.0, len(content & set(words)) / enough)


def _length(words: int) -> float:
    falling = (TOO_MANY_WORDS - words) / (TOO_MANY_WORDS - MANY_WORDS)
    return max(0.0, min(1.0, words / FEW_WORDS, falling))


def _groups(scores: Sequence[float]) -> Ranking:
    """Best to worst; a score within 1e-9 of the best of a group ties with it."""
    groups: list[list[int]] = []
    for item in sorted(range(len(scores)), key=lambda k: (-scores[k], k)):
        if groups and scores[groups[-1][0]] - scores[item] <= TIE:
            groups[-1].append(item)
        else:
            groups.append([item])
    return tuple(tuple(sorted(group)) for group in groups)


def _read(body: Mapping[str, Any], raw: str, n: int) -> Ranked | Malformed:
    ranking = tuple(tuple(int(item) for item in group) for group in body["ranking"])
    scores = tuple(float(score) for score in body["scores"])
    if not is_ranking_of(ranking, range(n)) or len(scores) != n:
        return Malformed(Fault.MISSING, f"the reply does not rank {n} responses", raw)
    return Ranked(ranking, scores=scores, why={"points": list(body["why"])}, raw=raw)
