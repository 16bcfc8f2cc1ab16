"""Knowing a full disk by what the file system, PostgreSQL and the libraries say of it."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from app.core.errors import Unavailable

STORAGE_FULL = "storage_full"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
DISK_FULL = "53100"
"""PostgreSQL's `disk_full`."""
SAID = (
    "no space left on device",
    "disk quota exceeded",
    "os error 28",
    "os error 122",
    "unexpected pos",
)
"""Words of libraries that keep no error number: safetensors' are Rust's, the last are torch's."""


def is_full(error: BaseException) -> bool:
    """Whether an error says that there is no room left."""
    match error:
        case OSError():
            return error.errno in NO_ROOM
        case DBAPIError():
            return getattr(error.orig, "sqlstate", None) == DISK_FULL
        case _:
            return any(words in str(error).lower() for words in SAID)


def no_room(place: str) -> Unavailable:
    """Make the error that names the full place and how to mend it."""
    detail = f"{place} is full. Free some space there; what waits for it then goes on by itself."
    return Unavailable(detail, code=STORAGE_FULL)


@contextmanager
def room_in(place: str) -> Iterator[None]:
    """Raise `Unavailable` (`storage_full`) in place of whatever says that there is no room."""
    try:
        yield
    except (OSError, DBAPIError) as error:
        if is_full(error):
            raise no_room(place) from error
        raise
