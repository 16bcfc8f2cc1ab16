"""Bytes as they were sent, unpacked when they are gzip; what they hold decides, never a name.

Nothing is unpacked further than the caps allow, so a small file cannot become a large one here.
"""

import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

from app.core.errors import Invalid, TooLarge, Unsupported

GZIP = b"\x1f\x8b"
LFS = b"version https://git-lfs"
SNIFFED = 64
PIECE = 1 << 16
MAX_RATIO = 20
RATIO_FREE_BYTES = 16 << 20
"""Text packs to about 3:1; repetitive small files may pack better and harm nobody."""

FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3", "an SQLite database"),
    (b"GGUF", "model weights"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
)


def unpacked(chunks: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    """Yield the text's bytes.

    Raises:
        Unsupported: the content is of another format (`unsupported_format`).
        Invalid: a Git-LFS pointer, or gzip that is broken or ends early.
        TooLarge: more than `max_bytes`, or packed tighter than `MAX_RATIO` (a gzip bomb).
    """
    head, rest = _sniff(chunks)
    if not head.startswith(GZIP):
        _refuse_foreign(head)
        yield from _capped(rest, max_bytes)
        return
    head, rest = _sniff(_gunzip(rest, max_bytes))
    _refuse_foreign(head)
    yield from rest


def _sniff(chunks: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    stream = iter(chunks)
    head = b""
    for chunk in stream:
        head += chunk
        if len(head) >= SNIFFED:
            break
    return head[:SNIFFED], chain((head,) if head else (), stream)


def _refuse_foreign(head: bytes) -> None:
    if head.startswith(LFS):
        raise Invalid(
            "This is a Git-LFS pointer, not the data. Fetch the file with `git lfs pull` "
            "and upload that.",
            code="git_lfs_pointer",
        )
    if head.startswith(GZIP):
        raise _unsupported("gzip inside gzip")
    for magic, name in FOREIGN:
        if head.startswith(magic):
            raise _unsupported(name)


def _unsupported(what: str) -> Unsupported:
    return Unsupported(
        f"The content is {what}. Send JSON Lines or plain text in UTF-8, plain or as gzip.",
        code="unsupported_format",
    )


def _capped(chunks: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        yield chunk


def _gunzip(chunks: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    packed = size = 0
    engine = _member()
    for chunk in chunks:
        packed += len(chunk)
        waiting = chunk
        while waiting:
            if engine.eof:
                engine = _member()
            piece = _inflate(engine, waiting)
            waiting = engine.unused_data if engine.eof else engine.unconsumed_tail
            size += len(piece)
            if size > min(max_bytes, max(RATIO_FREE_BYTES, MAX_RATIO * packed)):
                raise _too_large(max_bytes)
            if piece:
                yield piece
    if not engine.eof:
        raise Invalid("The gzip data end too early; send the file again.", code="broken_gzip")


def _member() -> "zlib._Decompress":
    return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)


def _inflate(engine: "zlib._Decompress", data: bytes) -> bytes:
    try:
        return engine.decompress(data, PIECE)
    except zlib.error as error:
        raise Invalid(
            "The gzip data are broken; send the file again.", code="broken_gzip"
        ) from error


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(
        f"The data unpack to more than {max_bytes} bytes, or to more than {MAX_RATIO} times "
        "their packed size. Split the file.",
        code="decompressed_too_large",
    )
