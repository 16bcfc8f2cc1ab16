"""What can be told of answers without a judge: their variety, their length, whether they refuse."""

import re
from collections.abc import Sequence

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_REFUSAL = re.compile(
    r"\b(i (?:can(?:no|')t|am not able to|am unable to|won't|will not)"
    r"|i'm (?:not able to|unable to|sorry,? but)|as an ai\b|i must decline)",
    re.IGNORECASE,
)
HEAD = 200
"""Characters at the start of an answer in which a refusal is looked for."""


def distinct(texts: Sequence[str], n: int) -> float | None:
    """Distinct-n (Li et al. 2016): different n-grams of words over all; None without any."""
    grams = [
        tuple(words[place : place + n])
        for words in (_WORD.findall(text.lower()) for text in texts)
        for place in range(len(words) - n + 1)
    ]
    return len(set(grams)) / len(grams) if grams else None


def refuses(text: str) -> bool:
    """Whether it opens like a refusal; a rule of thumb in English, no judgement."""
    return _REFUSAL.search(text[:HEAD].replace("\u2019", "'")) is not None
