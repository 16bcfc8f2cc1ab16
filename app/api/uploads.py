"""Receiving one file as multipart/form-data: bounded, in constant memory, whole or refused."""

import asyncio
import difflib
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import PurePosixPath, PureWindowsPath
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from app.api.deps import SettingsDep
from app.core.errors import Invalid, TooLarge, Unavailable, Unsupported

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FILE = "file"
MAX_FIELD_BYTES = 4096
MAX_PARTS = 16
SPOOLED_BYTES = 1 << 20
PIECE_BYTES = 1 << 16
SILENCE_SECONDS = 60.0
NAME_LETTERS = 120


class Upload:
    """The parts of one request: text fields, and the file in a temporary place of ours."""

    def __init__(self, max_bytes: int) -> None:
        self.fields: dict[str, str] = {}
        self.file_name: str | None = None
        self._file = SpooledTemporaryFile[bytes](max_size=SPOOLED_BYTES)
        self._max_bytes = max_bytes
        self._size = 0

    def store(self, piece: bytes) -> None:
        """Take a piece of the file."""
        self._size += len(piece)
        if self._size > self._max_bytes:
            raise TooLarge(
                f"The file may have at most {self._max_bytes} bytes.",
                facts={"max_bytes": self._max_bytes},
            )
        self._file.write(piece)

    def chunks(self) -> Iterator[bytes]:
        """Yield the file from its start."""
        self._file.seek(0)
        while piece := self._file.read(PIECE_BYTES):
            yield piece

    def check_fields(self, known: Collection[str]) -> None:
        """Refuse parts that are not read; raises `Invalid`."""
        for name in self.fields:
            if name not in known:
                near = difflib.get_close_matches(name[:64], known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}."
                message = f"unknown part {name[:64]!a}; {hint}"
                raise Invalid(message, code="unknown_field")

    def close(self) -> None:
        """Remove the file."""
        self._file.close()


class _Parts:
    """What the multipart parser calls; knows at the end whether the message was whole."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._headers: dict[bytes, bytes] = {}
        self._key = self._value = b""
        self._name = ""
        self._text = bytearray()
        self._parts = 0
        self.whole = False

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self.on_part_begin,
            "on_header_field": self.on_header_field,
            "on_header_value": self.on_header_value,
            "on_header_end": self.on_header_end,
            "on_headers_finished": self.on_headers_finished,
            "on_part_data": self.on_part_data,
            "on_part_end": self.on_part_end,
            "on_end": self.on_end,
        }

    def on_part_begin(self) -> None:
        self._headers = {}
        self._text = bytearray()
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise Invalid(f"There may be at most {MAX_PARTS} parts.", code="too_many_parts")

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._key += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self._headers[self._key.lower()] = self._value
        self._key = self._value = b""

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._name = options.get(b"name", b"").decode(errors="replace")
        if not self._name:
            raise _malformed("A part has no name.")
        if self._name in self._upload.fields or (self._is_file and self._upload.file_name):
            raise Invalid(f"The part {self._name[:64]!a} is there twice.", code="duplicate_part")
        if self._is_file:
            sent = options.get(b"filename", b"").decode(errors="replace")
            self._upload.file_name = clean_name(sent)

    @property
    def _is_file(self) -> bool:
        return self._name == FILE

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._upload.store(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > MAX_FIELD_BYTES:
            message = f"The part {self._name[:64]!a} may have at most {MAX_FIELD_BYTES} bytes."
            raise TooLarge(message, code="part_too_large")

    def on_part_end(self) -> None:
        if not self._is_file:
            self._upload.fields[self._name] = _text(bytes(self._text), self._name)

    def on_end(self) -> None:
        self.whole = True


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        message = f"The part {name[:64]!a} is not UTF-8."
        raise Invalid(message, code="invalid_encoding") from None


def clean_name(sent: str) -> str:
    """Return a label for a file as it was named: no folders, nothing unprintable, not long."""
    base = PurePosixPath(PureWindowsPath(sent).name).name
    label = "".join(letter for letter in base if letter.isprintable()).strip()
    return label[:NAME_LETTERS] if label.strip(".") else "dataset"


def _malformed(why: str) -> Invalid:
    return Invalid(why, code="malformed_multipart")


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        raise Unsupported("Send multipart/form-data with the data in a part named 'file'.")
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise _malformed("The content type names no boundary.")
    return boundary


async def receive(request: Request, upload: Upload, silence_seconds: float) -> None:
    """Read a request's body into an upload.

    Raises:
        Unsupported: not multipart/form-data.
        Invalid: `malformed_multipart` (also when the end is missing), `missing_file`, ...
        TooLarge: the file or a field is.
        Unavailable: `request_timeout`: nothing came for `silence_seconds`.
    """
    parts = _Parts(upload)
    try:
        parser = MultipartParser(_boundary(request), parts.callbacks())
        async for chunk in _awake(request.stream(), silence_seconds):
            parser.write(chunk)
    except FormParserError:
        raise _malformed("The body is not valid multipart/form-data.") from None
    except ClientDisconnect:
        raise _malformed("The client went away before the end.") from None
    if not parts.whole:
        raise _malformed("The body ends before its closing boundary; send it again.")
    if upload.file_name is None:
        raise Invalid("The part 'file' is missing.", code="missing_file")


async def _awake(stream: AsyncIterator[bytes], silence_seconds: float) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(silence_seconds):
                chunk = await anext(stream, None)
        except TimeoutError:
            message = f"Nothing was received for {silence_seconds:g} seconds."
            raise Unavailable(message, code="request_timeout") from None
        if chunk is None:
            return
        yield chunk


async def received(request: Request, settings: SettingsDep) -> AsyncIterator[Upload]:
    """Give an endpoint the upload, and remove it after."""
    upload = Upload(settings.max_upload_bytes)
    try:
        await receive(request, upload, SILENCE_SECONDS)
        yield upload
    finally:
        upload.close()


UploadDep = Annotated[Upload, Depends(received)]
