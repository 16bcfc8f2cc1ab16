"""Chunks of bytes as numbered lines of text, in constant memory however long a line is."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.services.formats.rows import Fault, excerpt

BOM = b"\xef\xbb\xbf"
SHOWN = 512


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its end; numbers count from 1, blank lines included."""

    number: int
    text: str


@dataclass(slots=True)
class _Open:
    """The line being gathered; what exceeds the limit is counted and thrown away."""

    limit: int
    data: bytearray
    size: int = 0

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        room = self.limit + 2 - len(self.data)
        if room > 0:
            self.data += piece[:room]

    def close(self) -> tuple[bytes, bool]:
        """Return the bytes without a carriage return, and whether the line was too long."""
        data = bytes(self.data)
        too_long = self.size > self.limit + 1 or len(data.removesuffix(b"\r")) > self.limit
        self.data = bytearray()
        self.size = 0
        return data.removesuffix(b"\r"), too_long


def split_lines(chunks: Iterable[bytes], max_line_bytes: int) -> Iterator[Line | Fault]:
    r"""Yield lines ended by `\n` or `\r\n`; a leading byte order mark is dropped.

    A line longer than `max_line_bytes`, or no valid UTF-8, or with a NUL is a fault of its number.
    """
    for number, (data, too_long) in enumerate(_raw_lines(chunks, max_line_bytes), start=1):
        body = data.removeprefix(BOM) if number == 1 else data
        yield _line(number, body, None if not too_long else max_line_bytes)


def _raw_lines(chunks: Iterable[bytes], limit: int) -> Iterator[tuple[bytes, bool]]:
    line = _Open(limit, bytearray())
    for chunk in chunks:
        *ended, tail = chunk.split(b"\n")
        for piece in ended:
            line.add(piece)
            yield line.close()
        line.add(tail)
    if line.size:
        yield line.close()


def _line(number: int, data: bytes, exceeded: int | None) -> Line | Fault:
    if exceeded is not None:
        message = f"The line is longer than {exceeded} bytes."
        return _fault(number, "line_too_long", message, data)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        message = f"Byte {error.start + 1} of the line is not valid UTF-8."
        return _fault(number, "invalid_encoding", message, data)
    if "\x00" in text:
        return _fault(number, "forbidden_character", "The line holds a NUL character.", data)
    return Line(number, text)


def _fault(number: int, code: str, message: str, data: bytes) -> Fault:
    return Fault(number, code, message, excerpt=excerpt(data[:SHOWN].decode(errors="replace")))
