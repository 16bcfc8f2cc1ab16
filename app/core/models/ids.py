"""Ids: a type's prefix and a UUIDv7 in lower-case base32, so that they sort by time."""

import os
import time
import uuid

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LETTERS = 26


def uuid7() -> uuid.UUID:
    """Make a UUIDv7; PostgreSQL before 18 has no function for it."""
    milliseconds = time.time_ns() // 1_000_000
    tail = int.from_bytes(os.urandom(10))
    value = (milliseconds & (2**48 - 1)) << 80 | 0x7 << 76
    value |= (tail >> 68 & 0xFFF) << 64 | 0b10 << 62 | tail & (2**62 - 1)
    return uuid.UUID(int=value)


def new_id(prefix: str) -> str:
    """Return e.g. `job_01jd...`: the prefix and 26 letters."""
    value = uuid7().int
    letters = [ALPHABET[value >> 5 * place & 31] for place in reversed(range(LETTERS))]
    return f"{prefix}_{''.join(letters)}"


def is_id(text: str, prefix: str) -> bool:
    """Whether a text has the form of an id."""
    head, _, tail = text.partition("_")
    return head == prefix and len(tail) == LETTERS and set(tail) <= set(ALPHABET)
