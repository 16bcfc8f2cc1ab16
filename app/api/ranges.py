"""Byte ranges of RFC 9110, section 14: what a Range header asks of a file of a known length."""

import re
from dataclasses import dataclass

MAX_RANGES = 16

_RANGES = re.compile(r"bytes=(.+)", re.IGNORECASE)
_RANGE = re.compile(r"\s*(\d{0,18})-(\d{0,18})\s*", re.ASCII)


@dataclass(frozen=True)
class Span:
    """Bytes from `start` up to `end`, which is excluded."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.end - self.start

    def described(self, size: int) -> str:
        """Return the value of Content-Range."""
        return f"bytes {self.start}-{self.end - 1}/{size}"


class Unsatisfiable(Exception):
    """No range lies in the file."""


def read_ranges(header: str | None, size: int) -> list[Span] | None:
    """Return the ranges in the asked order, or None where the whole file is the answer.

    A header that is malformed, has more than 16 ranges or asks for more bytes than the file has
    is ignored, as the RFC allows. Raises `Unsatisfiable` if no range has a byte of the file.
    """
    matched = _RANGES.fullmatch(header or "")
    if matched is None:
        return None
    parts = [_RANGE.fullmatch(part) for part in matched.group(1).split(",") if part.strip()]
    if not 0 < len(parts) <= MAX_RANGES:
        return None
    spans = []
    for part in parts:
        first, last = part.groups() if part else ("", "")
        if not _is_range(first, last):
            return None
        spans.append(_span(first, last, size))
    found = [span for span in spans if span is not None]
    if not found:
        raise Unsatisfiable
    return found if len(found) == 1 or sum(span.length for span in found) <= size else None


def _is_range(first: str, last: str) -> bool:
    if not first:
        return bool(last)
    return not last or int(first) <= int(last)


def _span(first: str, last: str, size: int) -> Span | None:
    if not first:
        span = Span(max(size - int(last), 0), size)
    else:
        span = Span(int(first), min(int(last) + 1, size) if last else size)
    return span if span.length > 0 else None
