"""From samples to candidates: empty samples are dropped and equal ones merged before judging."""

from collections.abc import Collection, Sequence

EMPTY = -1


def normal(text: str) -> str:
    """The text as it is compared with others: white space does not tell responses apart."""
    return " ".join(text.split())


def merge(texts: Sequence[str]) -> dict[int, int]:
    """Map each text to leave out to the first equal one, or to `EMPTY` if it says nothing."""
    first: dict[str, int] = {}
    merged: dict[int, int] = {}
    for k, text in enumerate(map(normal, texts)):
        if not text:
            merged[k] = EMPTY
        elif first.setdefault(text, k) != k:
            merged[k] = first[text]
    return merged


def kept(count: int, merged: Collection[int]) -> tuple[int, ...]:
    """The indices of the samples that stay, in order."""
    return tuple(k for k in range(count) if k not in merged)
